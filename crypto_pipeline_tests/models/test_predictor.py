"""One predictor for one row and for many, which matches inputs by name and refuses by name what it cannot answer."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.booster import LightGbmError, NativeBooster
from crypto_pipeline.models.calibration import Calibrator
from crypto_pipeline.models.inputs import input_matrix
from crypto_pipeline.models.predictor import Prediction, Predictor
from crypto_pipeline.models.refusal import PredictionRefused, RefusalReason
from crypto_pipeline.models.safeguards.age import REFUSE_AFTER
from crypto_pipeline.models.stored.registry import canonical
from crypto_pipeline_tests.builders import models as built

MODEL = built.model()
ROWS = built.rows(Strategy.SWING, 300, seed=9)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(MODEL)


@pytest.fixture(scope="module")
def row() -> dict[str, Any]:
    return next(each for each in ROWS.to_dicts() if None not in each.values())


def reason(predictor: Predictor, row: Mapping[str, Any]) -> tuple[RefusalReason, tuple[str, ...]]:
    with pytest.raises(PredictionRefused) as refused:
        predictor.predict(row)
    return refused.value.reason, refused.value.names


def test_one_row_many_rows_and_lightgbm_agree_to_the_bit(predictor: Predictor) -> None:
    raw = np.asarray(lgb.Booster(model_str=MODEL.text).predict(input_matrix(ROWS, MODEL.inputs), raw_score=True))
    expected = Calibrator.from_document(MODEL.calibrator).apply(raw).tolist()
    together = predictor.predict_all(ROWS)
    assert [each.probability for each in together if isinstance(each, Prediction)] == expected
    alone = [predictor.predict(row) for row in ROWS.to_dicts()]
    assert [(each.raw, each.probability, each.p_star) for each in alone] == [
        (each.raw, each.probability, each.p_star) for each in together if isinstance(each, Prediction)
    ]


def test_contributions_are_lightgbms_own_and_add_up(predictor: Predictor) -> None:
    own = np.asarray(lgb.Booster(model_str=MODEL.text).predict(input_matrix(ROWS[:5], MODEL.inputs), pred_contrib=True))
    for row, expected in zip(ROWS[:5].to_dicts(), own, strict=True):
        found = predictor.predict(row, explain=True)
        assert found.contributions is not None
        assert found.contributions.tobytes() == expected.tobytes()
        assert math.isclose(found.contributions.sum(), found.raw, abs_tol=1e-12)


@pytest.mark.parametrize("name", MODEL.inputs)
def test_each_input_removed_renamed_or_nulled_in_turn(predictor: Predictor, row: dict[str, Any], name: str) -> None:
    without = {key: value for key, value in row.items() if key != name}
    assert reason(predictor, without) == (RefusalReason.MISSING_INPUT, (name,))
    assert reason(predictor, {**without, f"{name}_": row[name]}) == (RefusalReason.MISSING_INPUT, (name,))
    with pytest.raises(PredictionRefused, match=name):
        predictor.predict_all(ROWS.rename({name: f"{name}_"}))
    nulled = row | {name: None}
    framed = predictor.predict_all(pl.DataFrame([nulled], schema=ROWS.schema))[0]
    if name in built.OFTEN_NULL:
        assert predictor.predict(nulled) == framed
    else:
        assert reason(predictor, nulled) == (RefusalReason.NULL_INPUT, (name,))
        assert isinstance(framed, PredictionRefused)
        assert (framed.reason, framed.names) == (RefusalReason.NULL_INPUT, (name,))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1.5", 10**400, [], "nan"])
def test_what_is_no_finite_number_is_refused(predictor: Predictor, row: dict[str, Any], value: Any) -> None:
    for name in ("lr_4", "lr_672", "tier"):
        assert reason(predictor, row | {name: value}) == (RefusalReason.NOT_A_NUMBER, (name,))


def test_one_bad_row_keeps_none_of_the_others_from_being_answered(predictor: Predictor) -> None:
    worse = ROWS.with_columns(
        lr_1=pl.when(pl.int_range(pl.len()) == 3).then(math.nan).otherwise("lr_1"),
        lr_4=pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise("lr_4"),
        tier=pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("other")).otherwise("tier"),
    )
    found = predictor.predict_all(worse)
    refused = {place: each.reason for place, each in enumerate(found) if isinstance(each, PredictionRefused)}
    assert refused == {3: RefusalReason.NOT_A_NUMBER, 5: RefusalReason.NULL_INPUT, 7: RefusalReason.NOT_A_NUMBER}
    whole = predictor.predict_all(ROWS)
    assert all(found[place] == whole[place] for place in range(ROWS.height) if place not in refused)
    strange = reason(Predictor(replace(MODEL, break_even={"large": 0.4})), ROWS.row(0, named=True) | {"tier": "meme"})
    assert strange == (RefusalReason.UNKNOWN_TIER, ("tier",))


def test_order_and_further_columns_do_not_matter(predictor: Predictor, row: dict[str, Any]) -> None:
    backwards = dict(reversed(row.items())) | {"further": 3.0}
    assert predictor.predict(backwards) == predictor.predict(row)
    shuffled = ROWS.select(reversed(ROWS.columns)).with_columns(further=pl.lit("x"))
    assert predictor.predict_all(shuffled) == predictor.predict_all(ROWS)


def test_a_model_that_is_too_old_or_learned_from_other_features_is_refused(predictor: Predictor) -> None:
    last = MODEL.trained_until + REFUSE_AFTER
    predictor.require_usable(last, MODEL.feature_schema_hash)
    with pytest.raises(PredictionRefused, match="60") as old:
        predictor.require_usable(last + timedelta(milliseconds=1), MODEL.feature_schema_hash)
    assert old.value.reason == RefusalReason.TOO_OLD
    with pytest.raises(PredictionRefused, match="abcd") as other:
        predictor.require_usable(last, "abcd")
    assert other.value.reason == RefusalReason.OTHER_FEATURES


def test_a_model_whose_probe_rows_have_another_answer_is_refused() -> None:
    answers = MODEL.probe_answers.copy()
    answers[7] = np.nextafter(answers[7], 1)
    for changed in (
        replace(MODEL, probe_answers=answers),
        replace(MODEL, text=built.model(seed=5).text),
        replace(MODEL, probes=MODEL.probes[:0], probe_answers=MODEL.probe_answers[:0]),
    ):
        with pytest.raises(PredictionRefused) as refused:
            Predictor(changed)
        assert refused.value.reason == RefusalReason.PROBES_DIFFER


@pytest.mark.parametrize("cut", [0, 40, 2_000, len(MODEL.text) // 2])
def test_a_damaged_model_text_is_refused_and_ends_nothing(cut: int) -> None:
    with pytest.raises(PredictionRefused) as refused:
        Predictor(replace(MODEL, text=MODEL.text[:cut]))
    assert refused.value.reason == RefusalReason.DAMAGED
    with pytest.raises(LightGbmError, match="inputs"):
        NativeBooster(MODEL.text, len(MODEL.inputs) + 1)


def test_a_forked_process_predicts_though_its_parent_trained_with_several_threads(predictor: Predictor) -> None:
    x = np.random.default_rng(0).normal(size=(5_000, 8))
    lgb.train({"num_threads": 2, "verbosity": -1, "objective": "binary"}, lgb.Dataset(x, x[:, 0] > 0), 3)
    expected = predictor.predict_all(ROWS[:3], explain=True)
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        told = [predictor.predict(row) for row in ROWS[:3].to_dicts()] + [
            Predictor(MODEL).predict(ROWS.row(0, named=True))
        ]
        os.write(writes, repr([each.probability for each in told]).encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    wanted = [each.probability for each in expected if isinstance(each, Prediction)]
    assert told == repr([*wanted, wanted[0]])


def test_who_predicts_loads_no_package_that_only_training_needs() -> None:
    program = (
        "import sys, crypto_pipeline.models.stored.live, crypto_pipeline.models.stored.training_run as run\n"
        "from crypto_pipeline_tests.builders.model_files import predicted\n"
        "print(predicted(sys.stdin.read()), {'lightgbm', 'scipy', 'pandas'} & set(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], input=canonical(MODEL), capture_output=True, text=True, check=True
    ).stdout
    assert found == f"{MODEL.probe_answers.tolist()} set()\n"
