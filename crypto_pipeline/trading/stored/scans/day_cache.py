"""Bars kept between passes by day, as long as their data versions stay: what changed is read again, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import polars as pl

from crypto_pipeline.labels.stored.update import BAR_COLUMNS
from crypto_pipeline.lake.reads.bars import long_reads
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import midnight
from crypto_pipeline.store import Store
from crypto_pipeline.trading.stored.scans.inputs import ReadBars

_Days = dict[date, tuple[int, pl.DataFrame]]


class DayCache:
    """Bars of the instruments and days that were read last, with the sum of the versions of each day's cells."""

    def __init__(self) -> None:
        self._days: dict[tuple[Timeframe, tuple[str, ...]], _Days] = {}

    def reader(self, store: Store) -> ReadBars:
        """Reads as the store does, from what is kept where that is current."""

        def read(names: Sequence[str], timeframe: Timeframe, start: datetime, end: datetime) -> pl.DataFrame:
            return self._read(store, tuple(names), timeframe, start, end)

        return read

    def _read(
        self, store: Store, names: tuple[str, ...], timeframe: Timeframe, start: datetime, end: datetime
    ) -> pl.DataFrame:
        # Versions first: a day that changes while it is read is read once more by the next pass.
        cells = store.coverage.cells([timeframe], start, end, names).filter(pl.col("data_version") > 0)
        versions = dict(cells.group_by("day").agg(pl.col("data_version").sum()).iter_rows())
        kept = {
            day: (version, bars)
            for day, (version, bars) in self._days.get((timeframe, names), {}).items()
            if versions.get(day) == version
        }
        for first, last in _runs(sorted(set(versions) - set(kept))):
            until = midnight(last) + timedelta(days=1)
            bars = long_reads(store).read(names, timeframe, midnight(first), until, columns=BAR_COLUMNS)
            by_day = bars.with_columns(pl.col("open_time").dt.date().alias("day")).partition_by(
                "day", as_dict=True, include_key=False
            )
            kept |= {day: (versions[day], by_day.get((day,), bars.clear())) for day in _days(first, last)}
        self._days[timeframe, names] = kept
        frames = [bars for _, (_, bars) in sorted(kept.items())]
        if not frames:
            return store.reader.read(names, timeframe, start, start, columns=BAR_COLUMNS)
        inside = pl.col("open_time").is_between(start, end, closed="left")
        return pl.concat(frames).filter(inside)


def _runs(days: list[date]) -> list[tuple[date, date]]:
    """First and last of the runs of consecutive days."""
    runs: list[tuple[date, date]] = []
    for day in days:
        if runs and day - runs[-1][1] == timedelta(days=1):
            runs[-1] = runs[-1][0], day
        else:
            runs.append((day, day))
    return runs


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
