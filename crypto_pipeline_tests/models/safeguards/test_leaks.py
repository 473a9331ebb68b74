"""Planted leaks are blocked, honest walks are not. `bench/models.py --leaks` plants each ten times."""

from __future__ import annotations

import polars as pl
import pytest

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.inputs import input_matrix, input_names
from crypto_pipeline.models.safeguards.finding import ModelFinding, blocking
from crypto_pipeline.models.safeguards.leaky_inputs import groups_of, leaky_inputs
from crypto_pipeline.models.settings import TrainingSettings
from crypto_pipeline.models.training import Trained, train
from crypto_pipeline_tests.builders.leaks import LEAKS
from crypto_pipeline_tests.builders.model_events import Market, events, inputs_of, settings_of

_MARKET = Market(common=0.4, noise=30)
_NAMES = inputs_of(_MARKET)


def findings(frame: pl.DataFrame) -> list[ModelFinding]:
    x, y = input_matrix(frame, _NAMES), frame["y"].cast(pl.Float64).to_numpy()
    return leaky_inputs(x, y, frame["net_return"].to_numpy(), _NAMES, input_names(Strategy.SWING), groups_of(frame))


@pytest.mark.parametrize("signal", [0.0, 0.12])
def test_honest_inputs_are_not_suspected(signal: float) -> None:
    for seed in range(3):
        assert findings(events(Market(common=0.4, noise=30, seed=seed, signal=signal))) == []


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("seed", range(4))
def test_a_planted_leak_is_named(leak: str, seed: int) -> None:
    frame = events(Market(common=0.4, noise=30, seed=seed))
    found = findings(frame.with_columns(LEAKS[leak](frame, seed).alias("body")))
    assert [finding.subject for finding in found] == ["body"]
    assert blocking(found)


def test_training_blocks_a_planted_leak_and_says_so_in_the_model() -> None:
    market = Market(seed=5)
    frame = events(market)
    spoiled = frame.with_columns(LEAKS["leaked label"](frame, 5).alias("body"))
    found = train(spoiled, Strategy.SWING, settings_of(market, 10))
    assert isinstance(found, Trained)
    checks = {finding.check for finding in blocking(found.findings)}
    assert checks == {"leaky_input", "too_good_to_be_true"}
    assert {finding["check"] for finding in found.model.metrics["findings"]} == checks


def test_a_column_that_is_no_input_of_the_strategy_is_blocked_whatever_it_holds() -> None:
    market = Market(seed=5)
    frame = events(market).with_columns(pl.col("body").alias("my_column"))
    settings = settings_of(market, 10)
    more = TrainingSettings(boosting=settings.boosting, inputs=(*inputs_of(market), "my_column"))
    found = train(frame, Strategy.SWING, more)
    assert isinstance(found, Trained)
    assert [(finding.check, finding.subject) for finding in blocking(found.findings)] == [("input_schema", "my_column")]
