"""Whether a model in use still means what it says: calibration and Brier skill on predictions whose label has ended,
and drift of what it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from crypto_pipeline.features.drift import drift
from crypto_pipeline.models.judging.bootstrap import mean_interval, share_below_zero
from crypto_pipeline.models.judging.metrics import brier_skill, calibration_error
from crypto_pipeline.models.safeguards.finding import ModelFinding

#: Fewer matured predictions than this say nothing.
LEAST_MATURED = 100
#: Mean probability and share of wins may differ by this without anybody being told, however sure the difference is.
CALIBRATION_SLACK = 0.05
_SURE = 0.95


def matured_findings(rows: pl.DataFrame, seed: int = 0) -> list[ModelFinding]:
    """Findings about matured predictions: ``available_at``, ``y``, ``probability``, ``base_rate`` (of training).

    Calibration has drifted where mean probability and share of wins differ by more than CALIBRATION_SLACK and the 99 %
    interval of the difference, by resampled days, excludes 0. Skill is lost where the Brier score is above that of the
    base rate with a probability of 95 %. Fewer than LEAST_MATURED rows find nothing.
    """
    if rows.height < LEAST_MATURED:
        return []
    y, p, base = (rows[name].cast(pl.Float64).to_numpy() for name in ("y", "probability", "base_rate"))
    day = rows["available_at"].dt.date().to_numpy()
    found = []
    apart = mean_interval(p - y, day, seed, level=0.99)
    if abs(apart.mean) > CALIBRATION_SLACK and (apart.low > 0 or apart.high < 0):
        message = (
            f"probabilities of {rows.height} matured predictions average {p.mean():.3f}, {y.mean():.3f} of them won "
            f"(calibration error {calibration_error(y, p):.3f})"
        )
        found.append(
            ModelFinding("calibration_drift", "probability", apart.mean, CALIBRATION_SLACK, message, blocks=False)
        )
    worse = share_below_zero((p - y) ** 2 - (base - y) ** 2, day, seed)
    if np.isfinite(worse) and 1 - worse >= _SURE:
        skill = brier_skill(y, p, base)
        message = f"Brier skill of {rows.height} matured predictions is {skill:.3f}: the base rate alone says more"
        found.append(ModelFinding("brier_skill", "probability", skill, 0.0, message, blocks=False))
    return found


def input_drift(rows: pl.DataFrame, names: Sequence[str], last: date) -> list[ModelFinding]:
    """Findings about inputs whose last week (ending with ``last``) is unlike their own past, by PSI.

    ``rows``: the inputs ``names`` of events, with ``available_at``. The threshold of each input is the 99th percentile
    of what its own weeks had against what came before them (see ``features.drift``).
    """
    if rows.is_empty():
        return []
    numeric = [name for name in names if rows[name].dtype.is_numeric()]
    history = rows.select(pl.col("available_at").alias("open_time"), pl.col(numeric).cast(pl.Float64))
    found = drift(history, last, numeric).filter("drifted")
    return [
        ModelFinding("input_drift", row["feature"], row["psi"], row["threshold"],
                f"the last week of {row['feature']} is unlike its past (PSI {row['psi']:.2f})", blocks=False)
        for row in found.iter_rows(named=True)
    ]  # fmt: skip
