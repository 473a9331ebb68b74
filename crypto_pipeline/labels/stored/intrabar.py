"""Minutes from the store, read when a bar of their day is unclear."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Ints, Panel
from crypto_pipeline.labels.intrabar import KeptMinutes, Minutes, gathered
from crypto_pipeline.lake.reads.bars import long_reads
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

_DAY = 86_400_000


class StoredMinutes:
    """1m bars of a panel's instruments, whole days at a time; ``days`` are those that were asked for, by instrument.

    ``as_of``: the bars as they were known then (default: now).
    """

    def __init__(self, store: Store, panel: Panel, *, as_of: datetime | None = None) -> None:
        self._store, self._panel, self._as_of = store, panel, as_of
        self._bars: dict[str, pl.DataFrame] = {}
        self._kept: dict[str, KeptMinutes] = {}
        self.days: dict[str, set[date]] = {}

    def __call__(self, numbers: Ints, opens: Ints) -> Minutes:
        """The minutes inside the 15m bars that open then."""
        for number in np.unique(numbers).tolist():
            self._ask(self._panel.names[number], np.unique(opens[numbers == number] // _DAY))
        return gathered(self._panel, self._kept, numbers, opens)

    def _ask(self, name: str, numbers: Ints) -> None:
        known = self.days.setdefault(name, set())
        fresh = sorted({date(1970, 1, 1) + timedelta(days=day) for day in numbers.tolist()} - known)
        if not fresh:
            return
        known |= set(fresh)
        read = [self._read(name, *bounds) for bounds in _runs(fresh)]
        bars = pl.concat([*([self._bars[name]] if name in self._bars else []), *read]).sort("open_time")
        self._bars[name], self._kept[name] = bars, KeptMinutes.from_bars(bars)

    def _read(self, name: str, first: date, last: date) -> pl.DataFrame:
        span = (datetime.combine(day, time(), UTC) for day in (first, last + timedelta(days=1)))
        columns = ["open_time", "open", "high", "low", "volume"]
        return long_reads(self._store).read([name], Timeframe.M1, *span, as_of=self._as_of, columns=columns)


def _runs(days: Sequence[date]) -> Iterator[tuple[date, date]]:
    """First and last day of every run of consecutive days."""
    cuts = [0, *(place for place, (a, b) in enumerate(pairwise(days), 1) if (b - a).days > 1), len(days)]
    for first, until in pairwise(cuts):
        yield days[first], days[until - 1]
