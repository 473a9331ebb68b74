"""Leaks planted into events: a column from the future, a leaked label, an id that was encoded by outcomes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl


def future_column(events: pl.DataFrame, seed: int) -> pl.Series:
    """The return that is to come, with noise as large as a third to all of it."""
    rng = np.random.default_rng(seed)
    net = events["net_return"].to_numpy()
    noise = net.std() * rng.uniform(0.33, 1.0) * rng.standard_normal(len(net))
    return pl.Series(np.sign(rng.random() - 0.5) * (net + noise))


def leaked_label(events: pl.DataFrame, seed: int) -> pl.Series:
    """The outcome itself, wrong in none to a sixth of the rows, hidden in a number of the usual size."""
    rng = np.random.default_rng(seed)
    y = events["y"].to_numpy().astype(float)
    wrong = rng.random(len(y)) < rng.uniform(0, 1 / 6)
    return pl.Series(np.where(wrong, 1 - y, y) * rng.uniform(0.5, 2) + 0.3 * rng.standard_normal(len(y)))


def encoded_id(events: pl.DataFrame, seed: int) -> pl.Series:
    """Mean outcome of all rows of the same id, past and future: of an instrument, its day, or both; some are smoothed.

    Every third time the row's own outcome is taken out of the mean.
    """
    rng = np.random.default_rng(seed)
    day = pl.col("signal_ts").dt.date()
    id_ = [pl.col("instrument"), day, pl.struct("instrument", day)][seed % 3]
    won, count = pl.col("y").sum().over(id_), pl.len().over(id_)
    if seed % 4 == 3:
        own = pl.when(count > 1).then((won - pl.col("y")) / (count - 1)).otherwise(0.5)
        return events.select(own.alias("x"))["x"]
    smooth = float(rng.choice([0, 2, 10]))
    return events.select(((won + smooth * pl.col("y").mean()) / (count + smooth)).alias("x"))["x"]


LEAKS: dict[str, Callable[[pl.DataFrame, int], pl.Series]] = {
    "future column": future_column,
    "leaked label": leaked_label,
    "target-encoded id": encoded_id,
}
