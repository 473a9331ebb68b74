"""Curves of a model as plain data: reliability, learning, and the profit of its out-of-fold decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from crypto_pipeline.models.judging.metrics import log_losses, reliability
from crypto_pipeline.models.learning.boosting import LearningRows, fit_calibrated
from crypto_pipeline.models.settings import TrainingSettings
from crypto_pipeline.models.splits import Fold, calibration_rows

#: Shares of the train rows, the latest, on which the last fold is fitted again for the learning curve.
SHARES = (0.25, 0.5)


def reliability_curve(scored: pl.DataFrame) -> list[dict[str, float]]:
    """Rows, mean probability and observed share by bins of probability, of out-of-fold rows."""
    return reliability(scored["y"].cast(pl.Float64).to_numpy(), scored["probability"].to_numpy())


def profit_curve(scored: pl.DataFrame) -> list[dict[str, Any]]:
    """By day of the signal (UTC): trades taken and all, and the sums of their net returns up to that day.

    A sum of net returns is what equal stakes earn, in stakes; ``taken`` by the model, ``rule`` of every event.
    """
    days = (
        scored.group_by(pl.col("available_at").dt.date().alias("day"))
        .agg(
            pl.col("take").sum().alias("trades"),
            pl.len().alias("events"),
            pl.col("net_return").filter("take").sum().alias("taken"),
            pl.col("net_return").sum().alias("rule"),
        )
        .sort("day")
        .with_columns(pl.col("taken", "rule").cum_sum(), pl.col("day").dt.to_string())
    )
    return days.rows(named=True)


def learning_curve(
    events: pl.DataFrame, rows: LearningRows, fold: Fold, whole: float, names: Sequence[str], settings: TrainingSettings
) -> list[dict[str, float]]:
    """Log-loss of the test of ``fold`` by the number of train rows; ``whole`` is that of all of them, fitted before."""
    found = []
    for share in SHARES:
        train = fold.train[int(len(fold.train) * (1 - share)) :]
        fits, calibrates = calibration_rows(events, train, settings.calibration_share)
        if not len(fits) or not len(calibrates) or rows.y[fits].min() == rows.y[fits].max():
            continue
        fitted = fit_calibrated(rows, fits, calibrates, names, settings.boosting)
        loss = log_losses(rows.y[fold.test], fitted.probabilities(rows.x[fold.test])).mean()
        found.append({"rows": len(train), "log_loss": float(loss)})
    return [*found, {"rows": len(fold.train), "log_loss": whole}]
