"""Partitions are days (weeks for weekly bars); instruments are rows, never partitions.

An instrument dimension would turn one backfill into thousands of runs; a range of days is one run. The market's clock
decides which days there are: a recording that keeps its own dates has its partitions there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from math import ceil

import dagster as dg

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.market_time import first_stored_day, market_time
from crypto_pipeline.settings import Settings, load_settings

#: Clocks that differ by no more than this count as the same: a venue's differs from this machine's by seconds.
_SAME = timedelta(minutes=5)

_RANGE_START, _RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_PARTITION = "dagster/partition"


@dataclass(frozen=True, slots=True)
class Partitions:
    """The partitions of all assets, fixed when a process loads the definitions. All times are midnights in UTC."""

    #: The first day of history that is expected.
    history_day: datetime
    #: The first partition of bars: the Monday of that week, so that days and weeks begin together.
    first_day: datetime
    #: Days of bars. The running day is a partition too, so that today's bars have a place.
    daily: dg.DailyPartitionsDefinition
    #: Days of features and labels: none before there are bars.
    research: dg.DailyPartitionsDefinition
    #: Weeks of bars, from Monday on.
    weekly: dg.WeeklyPartitionsDefinition

    @classmethod
    def from_history(cls, history_day: datetime, ahead: timedelta) -> Partitions:
        """Partitions from ``history_day`` on. ``ahead``: the market's time minus this machine's."""
        first = Timeframe.W1.floor(history_day)
        today, week = (end_offset(ahead, timeframe.delta) for timeframe in (Timeframe.D1, Timeframe.W1))
        return cls(
            history_day,
            first,
            dg.DailyPartitionsDefinition(start_date=first, end_offset=today, timezone="UTC"),
            dg.DailyPartitionsDefinition(start_date=history_day, end_offset=today, timezone="UTC"),
            dg.WeeklyPartitionsDefinition(start_date=first, end_offset=week, day_offset=1, timezone="UTC"),
        )

    def of(self, timeframe: Timeframe) -> dg.TimeWindowPartitionsDefinition:
        """The partitions of bars of this width."""
        return self.weekly if timeframe is Timeframe.W1 else self.daily


def read_partitions(settings: Settings, wall: datetime) -> Partitions:
    """The partitions of a database whose history may have begun before the days that the settings ask for.

    ``wall`` is this machine's time, UTC. The first day stays where it is while the deployment grows older: it is the
    first stored day, or ``history_days`` before the market's now where that is earlier or nothing is stored yet.
    """
    now = market_time(settings, wall)
    asked = Timeframe.D1.floor(now - timedelta(days=settings.history_days))
    stored = first_stored_day(settings)
    return Partitions.from_history(asked if stored is None else min(asked, stored), now - wall)


@lru_cache(maxsize=1)
def partitions() -> Partitions:
    """The partitions of this process: a code server and its runs lay them down once. Reads the settings."""
    return read_partitions(load_settings(), datetime.now(UTC))


def end_offset(ahead: timedelta, width: timedelta) -> int:
    """Dagster's ``end_offset`` with which the running day (or week) of the market is the last partition.

    Dagster counts from this machine's clock, of which the market's is ``ahead``. Where the two differ by parts of a
    day, one partition of the future is there for a part of it; the running one is always there.
    """
    nearest = round(ahead / width)
    return (nearest if abs(ahead - nearest * width) <= _SAME else ceil(ahead / width)) + 1


def range_tags(start: datetime, end: datetime, timeframe: Timeframe = Timeframe.D1) -> dict[str, str]:
    """Tags that make one run cover every partition which ``[start, end)`` touches."""
    first = max(timeframe.floor(start), partitions().first_day)
    last = max(first, timeframe.floor(end - timedelta(microseconds=1)))
    return {_RANGE_START: f"{first:%Y-%m-%d}", _RANGE_END: f"{last:%Y-%m-%d}"}


def run_partitions(tags: Mapping[str, str]) -> tuple[str, str] | None:
    """Keys of the first and last partition of a run with these tags; None where it has none."""
    first = tags.get(_RANGE_START) or tags.get(_PARTITION)
    last = tags.get(_RANGE_END) or first
    return None if first is None or last is None else (first, last)


def run_days(tags: Mapping[str, str]) -> tuple[date, date] | None:
    """First and last day of the partitions of a run with these tags; None where they are not days."""
    keys = run_partitions(tags)
    try:
        return None if keys is None else (date.fromisoformat(keys[0]), date.fromisoformat(keys[1]))
    except ValueError:
        return None


def each_day(spans: Iterable[tuple[date, date]]) -> set[date]:
    """Every day of spans, which are given by their first and last day."""
    return {first + timedelta(days=n) for first, last in spans for n in range((last - first).days + 1)}
