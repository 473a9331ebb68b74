"""Training on simulated walks: what a model has, that it is the same again, and what is said of too little data."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.events import EventError, end_of
from crypto_pipeline.models.learning.minima import Insufficient
from crypto_pipeline.models.scoring import score
from crypto_pipeline.models.settings import TrainingSettings
from crypto_pipeline.models.training import Trained, train
from crypto_pipeline_tests.builders.model_events import Market, events, settings_of

MARKET = Market(signal=0.15, common=0.2, seed=3)


@cache
def table() -> pl.DataFrame:
    return events(MARKET)


def trained(frame: pl.DataFrame | None = None, **changed: Any) -> Trained:
    found = train(table() if frame is None else frame, Strategy.SWING, replace(settings_of(MARKET, 20), **changed))
    assert isinstance(found, Trained), found
    return found


@cache
def once() -> Trained:
    return trained()


def insufficient(frame: pl.DataFrame, settings: TrainingSettings | None = None) -> Insufficient:
    found = train(frame, Strategy.SWING, settings or settings_of(MARKET))
    assert isinstance(found, Insufficient)
    return found


def test_a_signal_is_found_and_what_judges_was_scored_by_models_that_had_not_seen_it() -> None:
    found = once()
    folds = found.model.metrics["folds"]
    assert (len(folds), found.model.metrics["folds_left_out"]) == (6, 0)
    assert found.model.metrics["out_of_fold"]["auc"] > 0.57
    assert found.model.metrics["out_of_fold"]["rows"] == int(found.out_of_fold["is_default"].sum())
    assert found.findings == ()
    begin = end_of(table()) - timedelta(days=28)
    assert found.model.trained_until < begin
    assert found.holdout["available_at"].min() >= begin
    assert found.out_of_fold["available_at"].max() < begin


def test_rows_of_the_hold_out_change_nothing_in_the_model() -> None:
    """Neither its text nor calibrator, p*, probes nor null rates: only what judges it."""
    begin = end_of(table()) - timedelta(days=28)
    late = pl.col("available_at") >= begin
    spoiled = table().with_columns(
        pl.when(late).then(1 - pl.col("y")).otherwise(pl.col("y")).alias("y"),
        pl.when(late).then(None).otherwise(pl.col("body")).alias("body"),
        pl.when(late).then(9.0).otherwise(pl.col("net_return")).alias("net_return"),
    )
    ours, theirs = once().model, trained(spoiled).model
    for name in ("text", "calibrator", "break_even", "null_rates", "trained_until"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.probe_answers.tobytes() == theirs.probe_answers.tobytes()
    assert ours.metrics["out_of_fold"] == theirs.metrics["out_of_fold"]
    assert ours.metrics["holdout"] != theirs.metrics["holdout"]


def test_labels_that_end_in_the_hold_out_decide_no_break_even() -> None:
    begin = end_of(table()) - timedelta(days=28)
    across = (pl.col("available_at") < begin) & (pl.col("label_end_ts") >= begin)
    assert table().filter(across).height > 20
    spoiled = table().with_columns(
        pl.when(across & (pl.col("y") == 1)).then(5.0).otherwise(pl.col("net_return")).alias("net_return")
    )
    assert trained(spoiled).model.break_even == once().model.break_even


def test_another_process_makes_the_same_model_to_the_bit() -> None:
    program = (
        "from crypto_pipeline_tests.models.test_training import once; model = once().model; "
        "print(model.sha256, model.probe_answers.tobytes().hex())"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    assert said.stdout.split() == [once().model.sha256, once().model.probe_answers.tobytes().hex()]


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does() -> None:
    assert trained(table().sample(fraction=1, shuffle=True, seed=5)).model.sha256 == once().model.sha256
    boosting = replace(settings_of(MARKET, 20).boosting, seed=99)
    assert trained(boosting=boosting).model.text != once().model.text


def test_scores_of_a_model_from_its_document_are_those_of_training() -> None:
    model = type(once().model).from_document(once().model.to_document())
    again = score(model, table().sample(fraction=1, shuffle=True, seed=2))
    ours = once().holdout.join(again, on=["instrument", "signal_ts"], how="left", maintain_order="left")
    for name in ("probability", "p_star", "take", "base_rate"):
        assert ours[name].to_list() == ours[f"{name}_right"].to_list()


def test_progress_rises_to_one() -> None:
    told: list[float] = []
    train(table(), Strategy.SWING, settings_of(MARKET, 5), lambda step, share: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) >= 9


def test_curves_and_importances_are_plain_data_of_out_of_fold_rows() -> None:
    model = once().model
    curve = model.metrics["profit_curve"]
    judged = once().out_of_fold.filter("is_default")
    assert curve[-1]["rule"] == pytest.approx(judged["net_return"].sum())
    assert curve[-1]["taken"] == pytest.approx(judged.filter("take")["net_return"].sum())
    assert sum(part["rows"] for part in model.metrics["reliability_curve"]) == judged.height
    rows = [part["rows"] for part in model.metrics["learning_curve"]]
    assert rows == sorted(rows)
    assert len(rows) == 3
    assert sum(model.importances["gain"].values()) == pytest.approx(1)
    best = sorted(model.importances["permutation"], key=lambda name: -model.importances["permutation"][name])[:4]
    assert len(set(best) & {"volume_z_96", "body", "signed_volume_16", "bollinger_z"}) >= 3


def test_too_little_is_a_state_that_says_what_is_missing_and_when_it_will_suffice() -> None:
    found = insufficient(table().filter(pl.col("available_at") < table()["available_at"][0] + timedelta(days=70)))
    by_name = {each.what: each for each in found.shortages}
    assert set(by_name) == {"days of training events"}
    assert found.suffices_at is not None
    assert found.suffices_at - table()["available_at"][0] == pytest.approx(
        timedelta(days=60 + 28 + 3), abs=timedelta(3)
    )
    assert "of 60 days of training events (enough about 2026-04" in str(found)
    assert found.to_document()["status"] == "insufficient_data"


def test_every_minimum_is_named() -> None:
    few = (
        table().filter(pl.col("instrument") < "C003").with_columns(y=pl.lit(1, pl.Int8), is_default=pl.lit(value=False))
    )
    found = insufficient(few.head(150))
    assert {each.what for each in found.shortages} == {
        "training events", "training events that won", "training events that lost", "days of training events",
        "instruments with training events", "events of the default set in the hold-out",
    }  # fmt: skip
    assert found.suffices_at is None
    assert insufficient(table().clear()).shortages[0].needed == 500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.lit(None, pl.Float64).alias("net_return"), "null"),
        (pl.lit(2, pl.Int8).alias("y"), "neither 0 nor 1"),
        (pl.lit(0.0).alias("weight"), "weight"),
        (pl.col("signal_ts").min().alias("signal_ts"), "twice"),
        (pl.col("available_at").dt.offset_by("-1h").alias("label_end_ts"), "ended before"),
    ],
)
def test_rows_that_are_no_events_are_refused(change: pl.Expr, message: str) -> None:
    with pytest.raises(EventError, match=message):
        train(table().with_columns(change), Strategy.SWING, settings_of(MARKET))


def test_columns_that_are_absent_are_named() -> None:
    with pytest.raises(EventError, match="is_default, body"):
        train(table().drop("body", "is_default"), Strategy.SWING, settings_of(MARKET))


def test_a_frame_of_probes_is_answered_as_stored() -> None:
    from crypto_pipeline.models.calibration import Calibrator
    from crypto_pipeline.models.learning.boosting import load_booster, raw_scores

    model = once().model
    assert model.probes.shape == (64, len(model.inputs))
    assert np.isnan(model.probes).any()
    answers = Calibrator.from_document(model.calibrator).apply(raw_scores(load_booster(model.text), model.probes))
    assert answers.tobytes() == model.probe_answers.tobytes()
