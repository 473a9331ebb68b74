"""Models over HTTP and by commands: the same numbers as in memory, refusals by name, and files LightGBM loads alone.

Guards I11 (docs/invariants.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import lightgbm as lgb
import pytest

from crypto_pipeline import Reader
from crypto_pipeline.api.predictions import _OF_MODEL
from crypto_pipeline.features.compute import schema_hash
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.models.predictor import Predictor
from crypto_pipeline.models.refusal import RefusalReason
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.operations.figures.model_facts import OF_MODEL, read_models
from crypto_pipeline.store.research.models.rows import PredictionRow
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.builders import models as built
from crypto_pipeline_tests.cli.test_bad_input import Run, run
from crypto_pipeline_tests.models.stored.test_registry import add

__all__ = ["run"]

SWING = Strategy.SWING
MODEL = built.model()
ROWS = [row for row in built.rows(SWING, 40, seed=4).to_dicts() if None not in row.values()]
SIGNAL = built.UNTIL + timedelta(days=31)


@pytest.fixture(scope="module")
def database(new_database) -> Iterator[str]:
    with new_database("answers_in_tests") as url, Store(url) as store:
        store.instruments.add([Instrument.crypto("BTC-USDT"), Instrument.crypto("ETH-USDT")])
        store.clock.learn("replay", SIGNAL)
        add(store, built.model(seed=1))
        Registry(store).force(SWING, add(store, MODEL), reason="a test", person="Ann")
        found = Predictor(MODEL).predict(ROWS[0], explain=True)
        assert found.contributions is not None
        shared: dict[str, Any] = {
            "strategy": "swing", "instrument": "BTC-USDT", "model_id": MODEL.id, "params_hash": MODEL.params_hash,
            "feature_schema_hash": schema_hash(), "live": True, "ml_mode": "boost", "decision": "take",
        }  # fmt: skip
        store.models.predictions.put(
            [
                PredictionRow(
                    **shared, signal_ts=SIGNAL, size_factor=1.2, inputs=Predictor(MODEL).inputs_of(ROWS[0]),
                    probability=found.probability, raw=found.raw, p_star=found.p_star,
                    contributions=tuple(found.contributions.tolist()),
                ),
                PredictionRow(
                    **shared, signal_ts=SIGNAL - timedelta(hours=1), size_factor=1.0,
                    inputs=Predictor(MODEL).inputs_of(ROWS[0] | {"lr_1": float("nan"), "lr_4": None}),
                    refused="not_a_number", refusal="not a finite number: lr_1",
                ),
            ]
        )  # fmt: skip
        yield url


@pytest.fixture(scope="module")
def client(database: str) -> Iterator[httpx.Client]:
    reader = Reader(database, patience=2.0, statement_timeout=5.0)
    with Served(reader, Settings(ml_mode={"swing": "gate"})) as served, httpx.Client(base_url=served.url) as asked:
        yield asked


def ask(client: httpx.Client, row: dict[str, Any], **more: Any) -> httpx.Response:
    return client.post("/predict", json={"strategy": "swing", "row": row, **more})


def test_http_equals_batch_to_the_bit(client: httpx.Client) -> None:
    predictor = Predictor(MODEL)
    for row in ROWS[:10]:
        answer = ask(client, dict(reversed(row.items()))).json()
        found = predictor.predict(row, explain=True)
        assert found.contributions is not None
        assert (answer["probability"], answer["raw"], answer["p_star"]) == (found.probability, found.raw, found.p_star)
        parts = {**answer["contributions"], "": answer["base_value"]}
        assert [parts[name] for name in (*MODEL.inputs, "")] == found.contributions.tolist()
        assert list(map(abs, answer["contributions"].values())) == sorted(
            map(abs, found.contributions[:-1]), reverse=True
        )
        wins = found.probability >= found.p_star + 0.03
        assert (answer["ml_mode"], answer["decision"], answer["size_factor"]) == ("gate", "take" if wins else "skip", 1)
    assert ask(client, ROWS[0], explain=False).json()["contributions"] is None


@pytest.mark.parametrize(
    ("changed", "more", "status", "said"),
    [
        ({"lr_1": None}, {}, 422, "null_input: null, which was (nearly) never null in training: lr_1"),
        ({"lr_1": "high"}, {}, 422, "not_a_number: not a finite number: lr_1"),
        ({"tier": "huge"}, {}, 422, "not_a_number: not a finite number: tier"),
        ({}, {"feature_schema_hash": "abcd"}, 409, "other_features: "),
        ({}, {"strategy": "dca"}, 404, "no_model: dca has no model in use"),
        ({}, {"strategy": "other"}, 422, "strategy"),
        ({}, {"rows": []}, 422, "unknown parameter 'rows'"),
    ],
)  # fmt: skip
def test_http_refuses_by_name(
    client: httpx.Client, changed: dict[str, Any], more: dict[str, Any], status: int, said: str
) -> None:
    answer = client.post("/predict", json={"strategy": "swing", "row": ROWS[0] | changed, **more})
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_is_missing_is_named(client: httpx.Client) -> None:
    row = {name: value for name, value in ROWS[0].items() if name not in ("lr_1", "lr_16")}
    assert ask(client, row).json()["detail"] == "missing_input: missing: lr_1, lr_16"
    assert ask(client, ROWS[0] | {"further": 1}).status_code == 200


def test_a_model_that_is_too_old_is_refused(database: str) -> None:
    with Store(database) as store:
        store.clock.learn("replay", built.UNTIL + timedelta(days=61))
        try:
            with Served(Reader(database), Settings()) as served:
                answer = httpx.post(f"{served.url}/predict", json={"strategy": "swing", "row": ROWS[0]})
        finally:
            store.clock.learn("replay", SIGNAL)
    assert (answer.status_code, answer.json()["detail"][:7]) == (409, "too_old")


def test_operation_sees_what_the_models_in_use_answered(database: str) -> None:
    assert set(OF_MODEL) == set(_OF_MODEL) == {reason.value for reason in RefusalReason} - _OF_A_ROW
    with Store(database) as store:
        (seen,) = store.connections.run(read_models)
    assert (seen.strategy, seen.model_id, round(seen.age / 86_400)) == ("swing", MODEL.id, 31)
    assert (seen.predictions, seen.late, seen.refused, seen.refused_all) == (2, 0, 1, 0)
    assert seen.said == "not a finite number: lr_1"


_OF_A_ROW = {"missing_input", "null_input", "not_a_number", "unknown_tier", "ineligible", "no_model"}


def test_predictions_are_listed_with_what_they_were_decided_from(client: httpx.Client) -> None:
    answer = client.get("/predictions/BTC-USDT").json()
    good, refused = answer["predictions"]
    assert (answer["instrument"], good["strategy"], good["decision"]) == ("BTC-USDT", "swing", "take")
    again = ask(client, {**good["inputs"], "tier": built.TIERS[int(good["inputs"]["tier"])]}).json()
    for name in ("probability", "raw", "p_star", "contributions", "base_value", "model_id"):
        assert again[name] == good[name]
    assert (refused["refused"], refused["probability"], refused["contributions"]) == ("not_a_number", None, None)
    assert (refused["inputs"]["lr_1"], refused["inputs"]["lr_4"]) == (None, None)
    only = {"strategy": "swing", "start": SIGNAL.isoformat(), "limit": 5}
    assert [row["signal_ts"] for row in client.get("/predictions/BTC-USDT", params=only).json()["predictions"]] == [
        good["signal_ts"]
    ]
    assert client.get("/predictions/BTC-USDT", params={"offset": 2}).json()["predictions"] == []
    assert client.get("/predictions/ETH-USDT").json()["predictions"] == []
    assert client.get("/predictions/XXX-USDT").status_code == 404
    wrong = client.get("/predictions/BTC-USDT", params={"limits": 3})
    assert (wrong.status_code, "did you mean" in wrong.json()["detail"]) == (422, True), wrong.text


def test_commands_show_promote_roll_back_and_export(run: Run, database: str, tmp_path: Path) -> None:
    at = {"DATABASE_URL": database}
    code, out, error = run("models", "list", **at)
    assert (code, error) == (0, "")
    assert MODEL.id in out
    assert "champion" in out
    code, out, _ = run("models", "show", MODEL.id[:8], "--json", **at)
    shown = json.loads(out)
    assert (code, shown["sha256"], shown["decisions"][0]["reason"]) == (0, MODEL.sha256, "a test")
    assert MODEL.id in run("models", "show", MODEL.id, **at)[1]
    other = built.model(seed=1).id
    code, _, error = run("models", "promote", "swing", "--force", other, **at)
    assert (code, "--reason" in error) == (2, True)
    code, out, _ = run(
        "models", "promote", "swing", "--force", other[:9], "--reason", "try it", "--person", "Bob", **at
    )
    assert (code, out) == (0, f"swing: model {other} is in use, by Bob\n")
    code, out, _ = run("models", "rollback", "swing", "--reason", "no good", "--person", "Bob", **at)
    assert (code, out) == (0, f"swing: model {MODEL.id} is in use again instead of {other}\n")
    code, out, _ = run("models", "promote", "swing", **at)
    assert (code, out) == (0, "swing: nothing is decided: it has no challenger: the next training may make one\n")
    assert run("models", "promote", "golf", **at)[0] == 2
    folder = tmp_path / "exported"
    code, out, _ = run("models", "export", MODEL.id, str(folder), **at)
    assert (code, len(out.splitlines())) == (0, 5)
    code, _, error = run("models", "export", MODEL.id, str(folder), **at)
    assert (code, "not empty" in error) == (1, True)
    _loads_with_lightgbm_alone(folder)


def _loads_with_lightgbm_alone(folder: Path) -> None:
    inputs, calibrator = (json.loads((folder / name).read_text()) for name in ("inputs.json", "calibrator.json"))
    booster = lgb.Booster(model_file=str(folder / "model.txt"))
    row = ROWS[0] | {"tier": inputs["tiers"][ROWS[0]["tier"]]}
    raw = booster.predict([[row[name] for name in inputs["names"]]], raw_score=True)[0]
    assert raw == Predictor(MODEL).predict(ROWS[0]).raw
    assert calibrator == MODEL.calibrator
    assert "lightgbm.Booster" in (folder / "README").read_text()


def test_predict_shows_what_an_instrument_was_predicted(run: Run, database: str) -> None:
    at = {"DATABASE_URL": database}
    code, out, _ = run("predict", "btc-usdt", **at)
    assert code == 0
    assert "break-even 0.4500; boost: take, size × 1.20" in out
    assert "refused (not_a_number): not a finite number: lr_1; the rules alone decide" in out
    code, out, _ = run("predict", "BTC-USDT", "--json", "--last", "1", **at)
    assert [row["model_id"] for row in json.loads(out)] == [MODEL.id]
    assert run("predict", "XXX", **at)[0] == 2
