"""Rows beside bars that are stored as they came: trades, corporate actions, and superseded copies of bars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading import arguments
from crypto_pipeline.reading.arguments import Moment
from crypto_pipeline.reading.helper_process import needs_polars
from crypto_pipeline.reading.servers.stored_reads import StoredReads
from crypto_pipeline.store import Store
from crypto_pipeline.store.reads.queries import LAST


class RecordReading(StoredReads):
    """The part of a reader that reads trades, corporate actions and superseded bars."""

    @needs_polars
    def trades(
        self, instruments: str | Sequence[str], start: Moment, end: Moment | None = None, *, venue: str | None = None
    ) -> pl.DataFrame:
        """Stored trades of ``[start, end)`` in TRADE_SCHEMA, sorted by instrument and id, archived ones included.

        ``venue``: needed only where trades of several venues are stored.
        """
        begin, until = arguments.span(
            arguments.moment(start, "start"), arguments.optional(end, "end") or self.store.clock.lately()
        )
        names = arguments.names(instruments)
        return self.from_server(lambda store: store.trade_reads.read(names, begin, until, venue))

    @needs_polars
    def corporate_actions(
        self, instruments: str | Sequence[str] | None = None, *, as_of: Moment | None = None
    ) -> pl.DataFrame:
        """Splits, dividends and renames known at ``as_of`` (default: now), announced ones too, in ACTION_SCHEMA."""
        moment = arguments.optional(as_of, "as_of", up=False) or self.store.clock.lately()
        chosen = None if instruments is None else arguments.names(instruments)

        def read(store: Store) -> pl.DataFrame:
            every = (row.instrument.symbol for row in store.instruments.list(active_only=False))
            return store.corporate_actions.as_of(list(every) if chosen is None else chosen, moment, effective_by=LAST)

        return self.from_server(read)

    @needs_polars
    def revisions(
        self, instruments: str | Sequence[str], timeframe: str, start: Moment, end: Moment | None = None
    ) -> pl.DataFrame:
        """Copies of bars with open time in ``[start, end)`` that a better copy replaced, in the order of replacement.

        All columns of ``bars``, and ``superseded_at`` Datetime(us, UTC): a copy was the truth from ``recorded_at``
        until then. Sorted by instrument and open time.
        """
        begin, until = arguments.span(
            arguments.moment(start, "start"), arguments.optional(end, "end") or self.store.clock.lately()
        )
        names = arguments.names(instruments)
        width = Timeframe.parse(timeframe)
        return self.from_server(lambda store: store.reader.revisions(names, width, begin, until))

    def _span(self, start: Moment, end: Moment | None) -> tuple[datetime, datetime]:
        until = arguments.optional(end, "end") or self.store.clock.lately()
        return arguments.span(arguments.moment(start, "start"), until)
