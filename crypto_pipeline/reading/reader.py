"""``Reader``: bars, prices, trades, gaps and coverage, with only a URL."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading import arguments
from crypto_pipeline.reading.arguments import Moment
from crypto_pipeline.reading.bar_answers import BarAnswers
from crypto_pipeline.reading.cached_reader import CachedReader
from crypto_pipeline.reading.collected import CollectedDays
from crypto_pipeline.reading.display.overview import ShownReader
from crypto_pipeline.reading.helper_process import HelperProcess, needs_polars
from crypto_pipeline.reading.lazy import scan
from crypto_pipeline.reading.query import ALL, Question, question
from crypto_pipeline.reading.series.features import FeatureReading
from crypto_pipeline.reading.series.ledger import LedgerReading
from crypto_pipeline.reading.series.macro import MacroReading
from crypto_pipeline.reading.series.records import RecordReading
from crypto_pipeline.reading.servers.routed_answers import routed, servers_of
from crypto_pipeline.reading.stocks.adjustment import AdjustmentWarning
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.columns.frames import READ_SCHEMA
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.portable_url import PortableUrl
from crypto_pipeline.store.database.sessions.pooler import DatabaseUrl

__all__ = ["Reader"]


@fork_safety.with_parts
class Reader(ShownReader, MacroReading, FeatureReading, LedgerReading, RecordReading):
    """Reads from the database behind ``url``; without one, from that of ``data_dir`` or of the settings.

    Thread-safe, and safe to fork: a child opens connections of its own. It is pickled as its settings, with the URL but
    without its password (see ``store.database.portable_url``). Connections are kept; close it, or use ``with``.

    If ``url`` leads to a connection pooler, ``direct_url`` is the same database on PostgreSQL itself. ``read_url``: a
    streaming replica of it, from which stored bars are read while it is at most ``read_lag`` seconds behind.

    All times are UTC, spans half-open. Every answer equals that of the plain table, wherever the rows are stored;
    for repeated questions see ``cached``. Methods raise ValueError for a bad argument, and StoreError for an unknown
    instrument or a database that does not answer (its kind DatabaseAwayError after ``patience`` seconds).
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        direct_url: str | None = None,
        read_url: str | None = None,
        read_lag: float = 5.0,
        data_dir: str | Path | None = None,
        connections: int = 8,
        patience: float = 60.0,
        statement_timeout: float | None = None,
        cache_bytes: int = 256 * 2**20,
    ) -> None:
        if url is not None and direct_url is not None:
            url = DatabaseUrl(url, direct_url)
        named = url
        if url is None:
            url, read_url, read_lag = servers_of(load_settings(data_dir=data_dir), read_url, read_lag)
        how = {"connections": connections, "patience": patience, "statement_timeout": statement_timeout}
        self.store = Store(url, **how)  # type: ignore[arg-type]
        self._settings = {
            "url": None if named is None else PortableUrl(named),
            "read_url": None if read_url is None else PortableUrl(read_url), "read_lag": read_lag,
            "data_dir": None if data_dir is None else str(Path(data_dir).expanduser().absolute()),
            "cache_bytes": cache_bytes, **how,
        }  # fmt: skip
        self._cache_bytes = cache_bytes
        self._collected = CollectedDays(self.store)
        #: Reads for this process where it was forked and Polars cannot work.
        self.helper = HelperProcess({**self._settings, "url": url, "read_url": None, "data_dir": None})
        here = BarAnswers(self.store, self.helper)
        self._routed = None if read_url is None else routed(here, self.helper, self.store, read_url, read_lag, how)
        #: Computes the bars of a question.
        self.answers = self._routed or here

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._settings,)

    @cached_property
    def cached(self) -> CachedReader:
        """The same reads through a cache that learns of every change; each answer says how old it is."""
        return CachedReader(self, self.store.url, self._cache_bytes, self._routed.servers if self._routed else None)

    # -- bars -----------------------------------------------------------------------------------------------------

    def bars(
        self,
        instruments: str | Sequence[str],
        timeframe: str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        last: int | None = None,
        as_of: Moment | None = None,
        final_only: bool = True,
        columns: str | Sequence[str] | None = None,
        fill: str | None = None,
        adjust: str = "none",
        sessions: str = "all",
    ) -> pl.DataFrame:
        """Bars with open time in ``[start, end)``, or the newest ``last`` before ``end`` of each instrument.

        Sorted by instrument and time. ``end`` is ``now()`` unless given; without ``start`` and ``last`` the span is the
        last day for minutes, a hundred bars for wider ones. Times are aware datetimes (of pandas too) or ISO 8601 text
        with zone; a bare date is its midnight in UTC. Times finer than a microsecond are rounded up. A SpanWarning
        says where the span reaches beyond what is collected, or where the newest bars are old.

        ``as_of`` gives the bars as they were known at that moment. ``final_only`` leaves out bars that may still grow:
        copies that cover only a part of their window, and the bar that is forming now. Without it the forming bar is
        included (not with ``as_of``, as it has no history), with ``source`` "forming" and ``complete`` false.
        ``columns`` chooses and orders columns; "all" is every column; the default is NARROW of ``reading.query``.
        ``adjust="splits"`` puts prices and volumes before a split on the basis after it, "all" prices before a dividend
        too; "none", the default, gives what was traded. Actions count that were known and in effect at ``as_of``
        (default: now). Stored bars do not change. An AdjustmentWarning names what could not be applied.

        ``sessions="regular"`` leaves out bars of stocks outside of the sessions of their exchange; "marked" adds the
        column ``extended``, true for these. ``fill="flat"`` adds the column ``filled``, and flat bars where a window
        between two bars has none.

        Columns and dtypes: ``instrument`` String; ``open_time`` Datetime(ms, UTC); ``open``, ``high``, ``low``,
        ``close`` Float64 in the quote asset; ``volume`` Float64 in the base asset; ``quote_volume``,
        ``taker_buy_volume`` Float64 and ``trade_count`` Int64, null where the venue does not state them; ``source``
        String; ``complete`` Boolean; ``revision`` Datetime(ms, UTC), when the venue stated it; ``recorded_at``
        Datetime(us, UTC), since when the store has these values; ``vwap`` Float64, null where nothing traded.
        """
        asked = question(
            instruments, timeframe, start, end,
            last=last, as_of=as_of, final_only=final_only, columns=columns, fill=fill, adjust=adjust,
            sessions=sessions, now=self.now,
        )  # fmt: skip
        return self.answer_or_warn(asked, stacklevel=2)

    def answer_or_warn(self, asked: Question, *, stacklevel: int = 1) -> pl.DataFrame:
        """The answer to a question, with a SpanWarning where it reaches beyond what is collected."""
        frame = self.answer(asked)
        if asked.fill is None and asked.final_only:
            self._collected.warn(asked, frame, stacklevel + 1)
        return frame

    def latest(
        self,
        instruments: str | Sequence[str] | None = None,
        timeframe: str = "1m",
        *,
        final_only: bool = True,
        columns: str | Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """The newest bar of each instrument (default: all active ones) that has one, as ``bars(…, last=1)``."""
        chosen = self.symbols() if instruments is None else instruments
        if not len(chosen):
            chosen = question("none", timeframe, last=1, columns=columns).columns or ()
            return pl.DataFrame(schema={name: READ_SCHEMA[name] for name in chosen})
        asked = question(chosen, timeframe, last=1, final_only=final_only, columns=columns)
        return self.answer_or_warn(asked, stacklevel=2)

    def scan(
        self,
        instruments: str | Sequence[str],
        timeframe: str,
        start: Moment,
        end: Moment | None = None,
        *,
        as_of: Moment | None = None,
        final_only: bool = True,
        adjust: str = "none",
        progress: bool | None = None,
    ) -> pl.LazyFrame:
        """As ``bars``, lazily: read month by month when the frame is collected, and only the columns that are used.

        For spans that do not fit into memory: filters and ``sink_parquet`` process one month at a time. Sorted by
        instrument and time within each month; the months are read one after the other, not in one transaction.
        ``progress`` shows the months that are read: None in notebooks, True in terminals too, False nowhere.
        """
        end = end or self._now()
        asked = question(
            instruments, timeframe, start, end, as_of=as_of, final_only=final_only, columns=ALL, adjust=adjust
        )
        fork_safety.require_polars("scan")
        self.store.symbols.ids(asked.instruments)  # a wrong name is refused now, not when it is collected
        return scan(self.answer, asked, progress)

    def answer(self, asked: Question) -> pl.DataFrame:
        """The bars that a question asks for; an AdjustmentWarning names each action that could not be applied."""
        frame, notes = self.answers.answer(asked)
        for note in notes:
            warnings.warn(note, AdjustmentWarning, stacklevel=3)
        return frame

    # -- instruments, prices ------------------------------------------------------------------------

    def now(self) -> datetime:
        """The market's time, UTC, the default of ``end``: the venue's last stated time, continued by our clock.

        For a replayed recording it may be years ago.
        """
        return self.store.clock.reckoned()

    def _now(self) -> datetime:
        return self.store.clock.lately()

    def version(self, asked: Question) -> str:
        """A text that changes whenever any bar of the question's span changes, whichever process changes it."""
        # flat bars depend on the bar before the span, and on how far bars reach after it
        start, end = (None, None) if asked.fill else (asked.start, asked.end)

        def of(store: Store) -> str:
            return store.coverage.version(asked.timeframe, start, end, list(asked.instruments))

        return self._routed.version(asked, of) if self._routed else of(self.store)

    def symbol_ids(self, instruments: Sequence[str]) -> Collection[int]:
        """The database ids of instruments. Raises StoreError for an unknown one."""
        return self.store.symbols.ids(instruments).values()

    def symbols(self, *, active_only: bool = True) -> list[str]:
        """Names of the instruments that are collected."""
        return [row.instrument.symbol for row in self.store.instruments.list(active_only=active_only)]

    def instruments(self, *, active_only: bool = True) -> pl.DataFrame:
        """The collected instruments: ``instrument``, ``asset_class``, ``base``, ``quote``, ``tier``, ``calendar``,
        ``active``, ``added_at`` (ms, UTC)."""
        rows = self.store.instruments.list(active_only=active_only)
        schema = {
            "instrument": pl.String(), "asset_class": pl.String(), "base": pl.String(), "quote": pl.String(),
            "tier": pl.String(), "calendar": pl.String(), "active": pl.Boolean(), "added_at": READ_SCHEMA["revision"],
        }  # fmt: skip
        values = []
        for row in rows:
            one = row.instrument
            kinds = str(one.asset_class), one.base, one.quote, str(one.tier), one.calendar
            values.append((one.symbol, *kinds, row.active, row.added_at))
        return pl.DataFrame(sorted(values), schema=schema, orient="row")

    @needs_polars
    def prices(self, instruments: str | Sequence[str] | None = None, timeframe: str = "1m") -> pl.DataFrame:
        """Forming bars with the last price of each instrument, and the ``age`` of each row in seconds."""
        chosen = None if instruments is None else arguments.names(instruments)
        return self.store.live.prices(chosen, [Timeframe.parse(timeframe)])

    # -- end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close every connection, that of the cache included."""
        if "cached" in self.__dict__:
            self.cached.close()
        self.helper.close()
        for part in (self._routed, self.store) if self._routed else (self.store,):
            part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _again(settings: dict[str, Any]) -> Reader:
    found = {name: each.url if isinstance(each, PortableUrl) else each for name, each in settings.items()}
    return Reader(**found)  # type: ignore[arg-type]
