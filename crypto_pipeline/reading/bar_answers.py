"""The bars that a question asks for: stored ones, the forming one, adjusted for corporate actions, filled."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl

from crypto_pipeline.lake.reads.bars import long_reads
from crypto_pipeline.market.calendars import get_calendar, outside_sessions
from crypto_pipeline.reading import arguments
from crypto_pipeline.reading.fill import fill_flat
from crypto_pipeline.reading.forming import with_forming
from crypto_pipeline.reading.helper_process import HelperProcess
from crypto_pipeline.reading.query import Question
from crypto_pipeline.reading.stocks.adjustment import Adjuster
from crypto_pipeline.store import Store
from crypto_pipeline.store.columns.frames import READ_SCHEMA
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import NeedsPolarsError

_KEY = ("instrument", "open_time")
_FOR_FILL = (*_KEY, "close")

#: Bars, and notes about corporate actions that could not be applied to them.
BarsAndNotes = tuple[pl.DataFrame, tuple[str, ...]]


class BarAnswers:
    """Computes answers from the store; in a forked process without Polars' threads by ``helper``. Thread-safe."""

    def __init__(self, store: Store, helper: HelperProcess) -> None:
        self._store, self._helper = store, helper

    def answer(self, asked: Question) -> BarsAndNotes:
        """The bars that a question asks for, and what could not be adjusted. Raises ValueError for a wrong column."""
        for name in asked.columns or ():
            if name not in READ_SCHEMA:
                raise ValueError(f"columns: bars have no column {name!r}; choose among {', '.join(READ_SCHEMA)}")
        if fork_safety.without_polars():
            return self._without_polars(asked), ()
        if asked.sessions != "all":
            return self._by_session(asked)
        if asked.adjust != "none":
            return self._adjusted(asked)
        if asked.fill is None:
            return self._bars(asked, asked.columns), ()
        columns = list(asked.columns or READ_SCHEMA)
        bars = self._bars(asked, _with(columns, _FOR_FILL))
        return self._filled(asked, bars, None).select([*columns, "filled"]), ()

    def _by_session(self, asked: Question) -> BarsAndNotes:
        """The answer without bars of extended hours, or with the column ``extended``, true for these."""
        columns = list(asked.columns or READ_SCHEMA)
        whole = replace(asked, sessions="all", columns=_with(columns, _KEY))
        bars, notes = self.answer(whole)
        outside = np.zeros(bars.height, np.bool_)
        for name, calendar in self._store.symbols.calendars(asked.instruments).items():
            rows = np.flatnonzero((bars["instrument"] == name).to_numpy())
            opens = bars["open_time"].to_physical().to_numpy()[rows]
            outside[rows] = outside_sessions(get_calendar(calendar), asked.timeframe, opens)
        columns += ["filled"] if asked.fill else []
        if asked.sessions == "regular":
            return bars.filter(pl.Series(~outside)).select(columns), notes
        return bars.with_columns(pl.Series("extended", outside)).select([*columns, "extended"]), notes

    def _adjusted(self, asked: Question) -> BarsAndNotes:
        columns = list(asked.columns or READ_SCHEMA)
        bars = self._bars(asked, _with(columns, _FOR_FILL))
        adjuster = Adjuster.from_frame(
            self._store, asked.adjust, bars, asked.timeframe,
            as_of=asked.as_of, complete=asked.final_only, now=self._now,
        )  # fmt: skip
        bars = adjuster.adjusted(bars, asked.timeframe)
        if asked.fill is not None:
            bars, columns = self._filled(asked, bars, adjuster), [*columns, "filled"]
        return bars if bars.columns == columns else bars.select(columns), adjuster.notes

    def _without_polars(self, asked: Question) -> pl.DataFrame:
        """The answer in a forked process: read here where the table alone answers, else by the helper process."""
        if asked.fill is None and asked.adjust == "none" and asked.sessions == "all" and not asked.with_forming:
            with suppress(NeedsPolarsError):
                return self._stored(asked, asked.columns)
        return self._helper.ask("answer", asked)

    def _bars(self, asked: Question, columns: Sequence[str] | None) -> pl.DataFrame:
        if not asked.with_forming:
            return self._stored(asked, columns)
        # before the table: a bar that closes in between is then in the table
        forming = self._store.live.forming(asked.instruments, asked.timeframe)
        if forming.is_empty():
            return self._stored(asked, columns)
        chosen = list(READ_SCHEMA) if columns is None else list(columns)
        stored = self._stored(asked, _with(chosen, _KEY))
        return with_forming(stored, forming, asked).select(chosen)

    def _stored(self, asked: Question, columns: Sequence[str] | None) -> pl.DataFrame:
        read = long_reads(self._store)
        if asked.start is None:
            assert asked.last is not None
            return read.newest(
                asked.instruments, asked.timeframe, asked.last,
                before=asked.end, as_of=asked.as_of, complete=asked.final_only, columns=columns,
            )  # fmt: skip
        until = asked.end or self._now()
        arguments.span(asked.start, until)
        return read.read(
            asked.instruments, asked.timeframe, asked.start, until,
            as_of=asked.as_of, complete=asked.final_only, columns=columns,
        )  # fmt: skip

    def _filled(self, asked: Question, bars: pl.DataFrame, adjuster: Adjuster | None) -> pl.DataFrame:
        until = asked.end or self._now()
        read, names = long_reads(self._store), list(asked.instruments)
        before: dict[str, tuple[datetime, float]] = {}
        if asked.start is not None:
            earlier = read.newest(
                names, asked.timeframe, 1,
                before=asked.start, as_of=asked.as_of, complete=asked.final_only, columns=_FOR_FILL,
            )  # fmt: skip
            if adjuster is not None:
                earlier = adjuster.adjusted(earlier, asked.timeframe)
            before = {name: (at, close) for name, at, close in earlier.iter_rows()}
        newest = read.newest(
            names, asked.timeframe, 1, as_of=asked.as_of, complete=asked.final_only, columns=_KEY
        )  # fmt: skip
        calendars = {
            row.instrument.symbol: get_calendar(row.instrument.calendar)
            for row in self._store.instruments.list(active_only=False)
            if row.instrument.symbol in set(names)
        }
        return fill_flat(bars, asked.timeframe, calendars, before, dict(newest.iter_rows()), asked.start, until)

    def _now(self) -> datetime:
        return self._store.clock.lately()


def _with(columns: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*columns, *more]))
