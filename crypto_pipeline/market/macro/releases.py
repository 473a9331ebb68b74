"""Which period is to be published next and by when, and whether revisions are larger than usual."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from crypto_pipeline.market.macro.series import next_period
from crypto_pipeline.market.macro.vintages import day_end

#: First values that the usual lag is taken from, and how many it takes at least.
_NEWEST, _ENOUGH = 12, 3
#: Days after the day that is expected, until a release counts as missed: with a calendar, and without.
_GRACE, _WITHOUT_CALENDAR = timedelta(days=1), {"D": 4, "W": 7, "BW": 7}
#: Earlier revisions without which nothing can be called usual; how much larger than nearly all of them is unusual.
_REVISIONS, _SHARE, _TIMES = 20, 0.99, 2.0


@dataclass(frozen=True, slots=True)
class ExpectedRelease:
    """The next period of a series, the day on which its value is expected, and since when it is overdue, UTC."""

    period: date
    day: date
    overdue_from: datetime


def next_release(
    first_prints: pl.DataFrame, frequency: str, calendar: Collection[date], zone: str, lag_days: int | None = None
) -> ExpectedRelease | None:
    """The next release; None where there is not enough data to tell.

    ``first_prints``: ``period`` and ``vintage_start`` of the first value of every period. The first vintage of a series
    brings all earlier periods at once, so they say nothing of its lag. ``lag_days`` is taken where there are too few
    others. Of ``calendar`` the first day counts on which the value came at the earliest so far.
    """
    if first_prints.is_empty():
        return None
    prints = first_prints.sort("period")
    recent = prints.filter(pl.col("vintage_start") > pl.col("vintage_start").min()).tail(_NEWEST)
    pairs = recent.select("period", "vintage_start").iter_rows()
    lags = [(came - next_period(period, frequency)).days for period, came in pairs]
    if len(lags) < _ENOUGH:
        if lag_days is None:
            return None
        lags = [lag_days]
    newest: date = prints["period"][-1]
    period = next_period(newest, frequency)
    over = next_period(period, frequency)
    days = [day for day in calendar if day >= over + timedelta(days=min(lags))]
    if days:
        day = min(days)
        return ExpectedRelease(period, day, day_end(day, zone) + _GRACE)
    day = over + timedelta(days=max(lags))
    return ExpectedRelease(period, day, day_end(day, zone) + timedelta(days=_WITHOUT_CALENDAR.get(frequency, 10)))


@dataclass(frozen=True, slots=True)
class RevisionSizes:
    """Recent revisions of a series against all earlier ones. Sizes are fractions, of percentages points.

    ``unusual``: the recent ones above ``limit`` (``period``, ``vintage_start``, ``before``, ``value``, ``size``).
    ``limit`` is None where there were too few earlier ones.
    """

    recent: int
    earlier: int
    limit: float | None
    unusual: pl.DataFrame


def revision_sizes(observations: pl.DataFrame, since: date, *, percent: bool) -> RevisionSizes:
    """Compare revisions that came on ``since`` or later with those before.

    ``observations`` of one series in OBSERVATION_SCHEMA. ``percent``: the values are percentages, so that differences
    are compared and not fractions.
    """
    before = pl.col("value").shift(1).over("period")
    change = (pl.col("value") - before).abs()
    revisions = (
        observations.sort("period", "vintage_start")
        .with_columns(before.alias("before"), (change if percent else change / before.abs()).alias("size"))
        .filter(pl.col("size") > 0)
        .select("period", "vintage_start", "before", "value", "size")
    )
    recent, earlier = (revisions.filter(one) for one in _split(since))
    if earlier.height < _REVISIONS:
        return RevisionSizes(recent.height, earlier.height, None, recent.clear())
    usual = earlier["size"].quantile(_SHARE, "higher")
    assert usual is not None
    limit = _TIMES * usual
    return RevisionSizes(recent.height, earlier.height, limit, recent.filter(pl.col("size") > limit))


def _split(since: date) -> tuple[pl.Expr, pl.Expr]:
    return pl.col("vintage_start") >= since, pl.col("vintage_start") < since
