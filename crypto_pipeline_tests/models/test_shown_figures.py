"""No figure that a model shows comes from rows that it learned from.

A model that learns noise by heart is right about nearly every row that it has seen and about half of all others. So any
figure of its document that looks good was taken from the wrong rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.judging.metrics import accuracy, auc
from crypto_pipeline.models.model import Model
from crypto_pipeline.models.scoring import score
from crypto_pipeline.models.settings import BoostingSettings, TrainingSettings
from crypto_pipeline.models.training import Trained, train
from crypto_pipeline_tests.builders.model_events import Market, events, inputs_of

_BY_HEART = BoostingSettings(
    threads=1, rounds=12, learning_rate=0.5, leaves=63, depth=12, least_in_leaf=1, least_share_in_leaf=0, l2=0,
    feature_fraction=1, bagging_fraction=1,
)  # fmt: skip
#: A little of it is no noise, else the calibrator would give one probability to all.
_MARKET = Market(seed=4, common=0.1, signal=0.06)


def figures(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a document with its place."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from figures(each, f"{path}.{name}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from figures(each, f"{path}[{number}]")
    elif isinstance(value, float):
        yield path, value


def learned_by_heart() -> tuple[Model, pl.DataFrame]:
    frame = events(_MARKET)
    found = train(frame, Strategy.SWING, TrainingSettings(boosting=_BY_HEART, inputs=inputs_of(_MARKET), folds=4))
    assert isinstance(found, Trained), found
    return found.model, frame


def test_a_model_that_learned_noise_by_heart_shows_nothing_good() -> None:
    model, frame = learned_by_heart()
    before = score(model, frame.filter(pl.col("label_end_ts") <= model.trained_until))
    y, p = before["y"].cast(pl.Float64).to_numpy(), before["probability"].to_numpy()
    assert auc(y, p) > 0.85, "what it learned from, it would be right about"
    assert accuracy(y, p) > 0.5
    shown = dict(figures(model.to_document()["metrics"]))
    good = {
        place: value
        for place, value in shown.items()
        if place.endswith((".auc", ".accuracy", ".brier_skill")) and ".months" not in place and value > 0.66
    }
    assert sum(place.endswith(".auc") for place in shown) >= 10
    assert good == {}
    losses = [
        shown[place] - shown[f"{place}_base"]
        for place in shown
        if place.endswith(".log_loss") and f"{place}_base" in shown
    ]
    assert len(losses) >= 10
    assert min(losses) > -0.03
