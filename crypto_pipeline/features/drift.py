"""Whether features look as they used to: nulls, ranges, drift. Each compares a span with the feature's own past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.features.compute import NAMES

#: Values that a feature cannot leave by its formula.
BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("rsi_14", "rsi_14_1h", "rsi_14_4h", "adx_14", "stochastic_14"), (0.0, 100.0)),
    **dict.fromkeys(("donchian_96", "breadth", "rank_lr_96", "upper_wick", "lower_wick"), (0.0, 1.0)),
    **dict.fromkeys(("body", "signed_volume_16", "autocorrelation_96", "btc_correlation_672"), (-1.0, 1.0)),
    **dict.fromkeys(("hour_sin", "hour_cos", "weekday_sin", "weekday_cos"), (-1.0, 1.0)),
    **dict.fromkeys(("from_high_16", "from_high_96"), (-1.0, 0.0)),
    **{name: (0.0, float("inf")) for name in ("rv_16", "rv_96", "rv_672", "rv_96_to_672", "parkinson_96")},
    **{name: (0.0, float("inf")) for name in ("bollinger_width", "atr_14", "from_low_96", "volume_16_to_96")},
    **{name: (0.0, float("inf")) for name in ("volume_to_slot", "btc_rv_96", "atr_14_1h", "atr_14_4h")},
    "true_range_14_1d": (0.0, float("inf")),
}
_ROUNDING = 1e-9
#: A null share that is higher by more than this than on any day before is a fault.
NULLS_MORE = 0.05
#: More than this share of values beyond everything seen before (by as much as its whole range) is a fault.
BEYOND_SHARE = 0.01
#: Days of history without which nothing is said.
LEAST_DAYS = 7
#: Days in a window of drift, bins, and past windows without which nothing is said.
DRIFT_DAYS, BINS, LEAST_WINDOWS = 7, 10, 30
#: Bins of no share count as this much: PSI is infinite otherwise.
_LEAST_SHARE = 1e-4

OFFENDER_SCHEMA: dict[str, pl.DataType] = {
    "feature": pl.String(),
    "found": pl.Float64(),
    "allowed": pl.Float64(),
    "instrument": pl.String(),
    "open_time": pl.Datetime("ms", "UTC"),
}


def null_shares(history: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Features whose share of nulls in ``rows`` exceeds that of every day of ``history`` by more than NULLS_MORE.

    Both have ``instrument``, ``open_time`` and features, and ``eligible`` where rows beside a hole are to be left out:
    their nulls have a reason. Offenders with ``found`` and ``allowed`` share.
    """
    history, rows = _eligible(history), _eligible(rows)
    if rows.is_empty() or history["open_time"].dt.date().n_unique() < LEAST_DAYS:
        return pl.DataFrame(schema=OFFENDER_SCHEMA)
    names = _features(rows)
    by_day = history.group_by(pl.col("open_time").dt.date().alias("day")).agg(
        pl.col(names).null_count() / pl.len().cast(pl.Float64)
    )
    found = []
    for name in names:
        share = rows[name].null_count() / len(rows)
        most = by_day[name].max()
        allowed = (float(most) if isinstance(most, float) else 0.0) + NULLS_MORE
        if share > allowed:
            first = rows.filter(pl.col(name).is_null()).row(0, named=True)
            found.append((name, share, allowed, first["instrument"], first["open_time"]))
    return pl.DataFrame(found, schema=OFFENDER_SCHEMA, orient="row")


def out_of_range(history: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Features of ``rows`` outside of what their formula allows, or far outside of ``history`` too often.

    With a column ``eligible`` only rows that are count as too often: the few values beside a hole are no sample of
    anything. Offenders with the worst value as ``found`` and the bound that it breaks as ``allowed``.
    """
    found = []
    history, counted = _eligible(history), _eligible(rows)
    long_enough = history["open_time"].dt.date().n_unique() >= LEAST_DAYS
    for name in _features(rows):
        low, high = BOUNDS.get(name, (-np.inf, np.inf))
        outside = (pl.col(name) < low - _ROUNDING) | (pl.col(name) > high + _ROUNDING)
        bad = rows.filter(outside)
        if bad.is_empty() and long_enough:
            least, most = history[name].min(), history[name].max()
            if isinstance(least, float) and isinstance(most, float) and most > least:
                low, high = 2 * least - most, 2 * most - least
                beyond = counted.filter((pl.col(name) < low) | (pl.col(name) > high))
                bad = beyond if beyond.height > BEYOND_SHARE * counted.height else bad
        if bad.height:
            row = bad.sort((pl.col(name) - (high if np.isfinite(high) else low)).abs(), descending=True).row(
                0, named=True
            )
            bound = high if row[name] > high else low
            found.append((name, row[name], bound, row["instrument"], row["open_time"]))
    return pl.DataFrame(found, schema=OFFENDER_SCHEMA, orient="row")


def drift(history: pl.DataFrame, last: date, names: Sequence[str] | None = None) -> pl.DataFrame:
    """PSI of every feature's last week (ending with the day ``last``) against all before, beside its own past.

    ``names``: the columns that are looked at (default: the features of ``history``).
    Columns ``feature``, ``day``, ``psi``, ``threshold`` (99th percentile of the PSI that every week of the past had
    against what came before it; null with fewer than LEAST_WINDOWS weeks) and ``drifted``. A fixed threshold would
    alarm for ever on slow features: a week of them never looks like the months before.
    """
    first = history["open_time"].min()
    assert isinstance(first, datetime), "there is history"
    days = [first.date() + timedelta(days=number) for number in range((last - first.date()).days + 1)]
    rows = []
    place = {day: number for number, day in enumerate(days)}
    at = history["open_time"].dt.date().replace_strict(place, default=-1, return_dtype=pl.Int32).to_numpy()
    for name in _features(history) if names is None else names:
        counts = _daily_counts(history[name], at, len(days))
        past = _trailing_psi(counts)
        psi, before = past[-1], past[:-1][~np.isnan(past[:-1])]
        threshold = float(np.quantile(before, 0.99)) if len(before) >= LEAST_WINDOWS else None
        known = None if np.isnan(psi) else float(psi)
        rows.append(
            (name, last, known, threshold, bool(threshold is not None and known is not None and psi > threshold))
        )
    schema = {
        "feature": pl.String,
        "day": pl.Date,
        "psi": pl.Float64,
        "threshold": pl.Float64,
        "drifted": pl.Boolean,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def correlation(
    rows: pl.DataFrame, features: Mapping[str, str] | None = None
) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Names and Pearson correlations of the features of ``rows``, over rows in which both are known."""
    names = [name for name in (features or NAMES) if name in rows.columns and (rows[name].std() or 0) not in (0, None)]
    values = rows.select(names).to_numpy()
    known = ~np.isnan(values)
    mean = np.nanmean(values, axis=0) if len(names) else np.zeros(0)
    centred = np.where(known, values - mean, 0.0)
    deviation = np.sqrt((centred**2).T @ known.astype(float))
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = (centred.T @ centred) / (deviation * deviation.T)
    return names, np.nan_to_num(np.clip(matrix, -1, 1))


def _eligible(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter("eligible") if "eligible" in rows.columns else rows


def _features(rows: pl.DataFrame) -> list[str]:
    return [name for name in NAMES if name in rows.columns]


def _daily_counts(values: pl.Series, day: npt.NDArray[np.int32], days: int) -> npt.NDArray[np.int64]:
    """Values per day and bin; the bins are deciles of all values."""
    known = (values.is_not_null().to_numpy()) & (day >= 0)
    numbers = values.fill_null(0.0).to_numpy()[known]
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1])) if len(numbers) else np.zeros(0)
    bins = len(edges) + 1
    cell = day[known].astype(np.int64) * bins + np.searchsorted(edges, numbers, side="right")
    return np.bincount(cell, minlength=days * bins).reshape(days, bins)


def _trailing_psi(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """For every day the PSI of the week that ends with it against all days before that week; NaN without either."""
    total = np.vstack([np.zeros(counts.shape[1], np.int64), counts.cumsum(axis=0)])
    result = np.full(len(counts), np.nan)
    for day in range(2 * DRIFT_DAYS - 1, len(counts)):
        week = total[day + 1] - total[day + 1 - DRIFT_DAYS]
        before = total[day + 1 - DRIFT_DAYS]
        if week.sum() and before.sum():
            a = np.maximum(week / week.sum(), _LEAST_SHARE)
            b = np.maximum(before / before.sum(), _LEAST_SHARE)
            result[day] = float(((a - b) * np.log(a / b)).sum())
    return result


def since(last: date, days: int) -> date:
    """The first of ``days`` days that end with ``last``."""
    return last - timedelta(days=days - 1)
