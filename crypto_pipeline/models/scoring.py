"""Scoring: probabilities of a model for events whose outcome is known, as frames that metrics and promotion judge."""

from __future__ import annotations

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Floats
from crypto_pipeline.models.calibration import Calibrator
from crypto_pipeline.models.events import EVENT_COLUMNS
from crypto_pipeline.models.inputs import input_matrix
from crypto_pipeline.models.learning.boosting import load_booster, raw_scores
from crypto_pipeline.models.model import Model

#: Added to the columns of the events. ``base_rate``: share of class 1 where the model learned; ``p_star``: null where
#: the tier has none; ``take``: probability is at least p* plus the margin.
SCORE_SCHEMA: dict[str, pl.DataType] = {
    "probability": pl.Float64(),
    "base_rate": pl.Float64(),
    "p_star": pl.Float64(),
    "take": pl.Boolean(),
}


def score(model: Model, events: pl.DataFrame) -> pl.DataFrame:
    """EVENT_COLUMNS of ``events`` and SCORE_SCHEMA, rows in the same order.

    Raises InputError where an input is absent or no number.
    """
    x = input_matrix(events, model.inputs)
    raw = raw_scores(load_booster(model.text), x)
    probability = Calibrator.from_document(model.calibrator).apply(raw)
    settings = model.manifest["settings"]
    return scored(events, probability, float(model.metrics["base_rate"]), dict(model.break_even), settings["margin"])


def scored(
    events: pl.DataFrame, probability: Floats, base_rate: float, p_star: dict[str, float], margin: float
) -> pl.DataFrame:
    """The same of probabilities that are known already."""
    tiers = events["tier"].to_list()
    needed = pl.Series("p_star", [p_star.get(tier) for tier in tiers], dtype=pl.Float64)
    return events.select(EVENT_COLUMNS).with_columns(
        pl.Series("probability", probability, dtype=pl.Float64),
        pl.Series("base_rate", np.full(len(tiers), base_rate), dtype=pl.Float64),
        needed,
        pl.Series("take", needed_reached(probability, needed, margin), dtype=pl.Boolean),
    )


def needed_reached(probability: Floats, p_star: pl.Series, margin: float) -> list[bool]:
    """Whether a trade is taken: the tier has a p* and the probability is at least p* plus ``margin``."""
    least = p_star.to_list()
    return [each is not None and p >= each + margin for p, each in zip(probability.tolist(), least, strict=True)]
