"""Which other instruments were looked at where one has a hole: only their silence says anything about the venue."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl

from crypto_pipeline.healing.collect import Collected
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store


class Siblings:
    """The instruments that were looked at between ``start`` and ``end``, by this pass or an earlier one.

    An earlier pass looked at a day when nothing of it is unaccounted for and the instrument has a bar at its end or
    later; this pass looked at what the venue answered.
    """

    def __init__(
        self, store: Store, timeframe: Timeframe, start: datetime, end: datetime, collected: Collected
    ) -> None:
        cells = store.coverage.cells([timeframe], timeframe.floor(start), end)
        whole = cells.filter((pl.col("present") > 0) & (pl.col("present") + pl.col("explained") >= pl.col("expected")))
        self._whole: dict[date, set[str]] = {}
        for name, day in whole.select("instrument", "day").iter_rows():
            self._whole.setdefault(day, set()).add(name)
        self._newest: dict[str, datetime] = dict(store.audit.newest(timeframe).drop_nulls().iter_rows())
        self._answered: dict[str, list[tuple[datetime, datetime]]] = {}
        for name, since, until in collected.answered_spans().iter_rows():
            self._answered.setdefault(name, []).append((since, until))
        self._timeframe = timeframe
        totals = cells.filter(pl.col("present") > 0).select(pl.col("present", "expected").sum()).row(0)
        #: Share of their expected bars that instruments ordinarily have.
        self.rate = min(1.0, totals[0] / totals[1]) if totals[1] else None

    def of(self, name: str, start: datetime, end: datetime) -> int:
        """How many others were looked at in all of ``[start, end)``."""
        return len((self._answering(start, end) | self._stored(start, end)) - {name})

    def _answering(self, start: datetime, end: datetime) -> set[str]:
        return {
            name
            for name, spans in self._answered.items()
            if any(since <= start and end <= until for since, until in spans)
        }

    def _stored(self, start: datetime, end: datetime) -> set[str]:
        day = self._timeframe.floor(start).date()
        if self._timeframe is not Timeframe.W1:
            day = start.date()
        names: set[str] | None = None
        while day <= (end - timedelta(microseconds=1)).date():
            here = self._whole.get(day, set())
            names = here if names is None else names & here
            day += timedelta(days=self._timeframe.cell_days)
        last = end - self._timeframe.delta
        return {name for name in names or set() if self._newest.get(name, start - timedelta(1)) >= last}
