"""Partitions are days (weeks for weekly bars); instruments are rows, never partitions.

An instrument dimension would turn one backfill into thousands of runs; a range of days is one run. Which days there are
is a matter of the market's clock: a recording that keeps its own dates has its partitions there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from math import ceil

import dagster as dg

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.market_time import market_time
from crypto_pipeline.settings import settings

#: Clocks so near to each other are the same: a venue's differs from ours by seconds.
_SAME = timedelta(minutes=5)


def end_offset(ahead: timedelta, width: timedelta) -> int:
    """Dagster's ``end_offset`` with which the running day (or week) of the market is the last partition.

    Dagster counts from this machine's clock, of which the market's is ``ahead``. Where the two differ by parts of a
    day, one partition of the future is there for a part of it; the running one is always there.
    """
    nearest = round(ahead / width)
    return (nearest if abs(ahead - nearest * width) <= _SAME else ceil(ahead / width)) + 1


_WALL = datetime.now(UTC)
_MARKET = market_time(settings(), _WALL)
#: The first day of history that is expected, fixed when the code server starts.
HISTORY_DAY = Timeframe.D1.floor(_MARKET - timedelta(days=settings().history_days))
#: The first partition of bars: the Monday of that week, so that days and weeks begin together.
FIRST_DAY = Timeframe.W1.floor(HISTORY_DAY)

_TODAY, _THIS_WEEK = (end_offset(_MARKET - _WALL, timeframe.delta) for timeframe in (Timeframe.D1, Timeframe.W1))
#: The running day and week are partitions too, so that today's bars have a place.
DAILY = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, end_offset=_TODAY, timezone="UTC")
#: Of features and labels: no day before there are bars.
RESEARCH_DAILY = dg.DailyPartitionsDefinition(start_date=HISTORY_DAY, end_offset=_TODAY, timezone="UTC")
WEEKLY = dg.WeeklyPartitionsDefinition(start_date=FIRST_DAY, end_offset=_THIS_WEEK, day_offset=1, timezone="UTC")

_RANGE_START, _RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def range_tags(start: datetime, end: datetime, timeframe: Timeframe = Timeframe.D1) -> dict[str, str]:
    """Tags that make one run cover every partition which ``[start, end)`` touches."""
    first = max(timeframe.floor(start), FIRST_DAY)
    last = max(first, timeframe.floor(end - timedelta(microseconds=1)))
    return {_RANGE_START: f"{first:%Y-%m-%d}", _RANGE_END: f"{last:%Y-%m-%d}"}


def run_days(tags: Mapping[str, str]) -> tuple[date, date] | None:
    """First and last day of the partitions of a run with these tags; None where it is not of days."""
    first, last = tags.get(_RANGE_START), tags.get(_RANGE_END)
    try:
        return (date.fromisoformat(first), date.fromisoformat(last)) if first and last else None
    except ValueError:
        return None


def each_day(spans: Iterable[tuple[date, date]]) -> set[date]:
    """Every day of spans of which the last day is named."""
    return {first + timedelta(days=n) for first, last in spans for n in range((last - first).days + 1)}
