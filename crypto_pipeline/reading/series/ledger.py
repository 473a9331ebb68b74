"""What is absent and why: rows of the ledger, and the counts of every day."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading import arguments
from crypto_pipeline.reading.absent.unasked import UNASKED, with_unasked
from crypto_pipeline.reading.arguments import Moment
from crypto_pipeline.reading.helper_process import needs_polars
from crypto_pipeline.reading.servers.stored_reads import StoredReads
from crypto_pipeline.reading.stocks.closures import CLOSED, with_closures
from crypto_pipeline.store import Store
from crypto_pipeline.store.coverage.ledger import STATES

#: What the state of a row may be.
GAP_STATES = (*STATES, CLOSED, UNASKED)


class LedgerReading(StoredReads):
    """The part of a reader that reads the ledger and the coverage."""

    @needs_polars
    def gaps(
        self,
        instruments: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        states: Sequence[str] | None = None,
        as_of: Moment | None = None,
    ) -> pl.DataFrame:
        """Runs of absent bars with their reasons that overlap ``[start, end)``, in the ledger's GAP_SCHEMA.

        Expected bars of active instruments that nothing has asked for yet are in state "unasked", without an id. With a
        ``start`` also the holidays and early closes of stock exchanges, in state "closed" and without an id. ``as_of``
        gives the rows that were open at that moment, with what the ledger says of them now; none is "unasked".
        """
        for state in states or ():
            if state not in GAP_STATES:
                raise ValueError(f"states: unknown state {state!r}; use some of {', '.join(GAP_STATES)}")
        begin, until = arguments.optional(start, "start"), arguments.optional(end, "end")
        if begin is not None and until is not None:
            arguments.span(begin, until)
        width = None if timeframe is None else Timeframe.parse(timeframe)
        names = None if instruments is None else arguments.names(instruments)
        known = arguments.optional(as_of, "as_of", up=False)

        def read(store: Store) -> pl.DataFrame:
            rows = store.ledger.open(width, names, states, begin, until, as_of=known)
            if known is None and (states is None or UNASKED in states):
                rows = with_unasked(store, rows, _active(store, names), _widths(width), (begin, until))
            return with_closures(store, rows, names, width, states, begin, until)

        return self.from_server(read, known)

    @needs_polars
    def coverage(
        self,
        instruments: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> pl.DataFrame:
        """Per instrument, timeframe and day how many bars are expected, present and explained, in CELL_SCHEMA."""
        begin, until = arguments.optional(start, "start"), arguments.optional(end, "end")
        if begin is not None and until is not None:
            arguments.span(begin, until)
        chosen = None if instruments is None else arguments.names(instruments)
        width = None if timeframe is None else Timeframe.parse(timeframe)
        return self.from_server(lambda store: store.coverage.cells(_widths(width), begin, until, chosen))


def _widths(timeframe: Timeframe | None) -> list[Timeframe]:
    return list(Timeframe) if timeframe is None else [timeframe]


def _active(store: Store, names: Sequence[str] | None) -> list[str]:
    """The instruments of which bars are expected now, of ``names`` or of all."""
    active = [row.instrument.symbol for row in store.instruments.list()]
    return active if names is None else [name for name in active if name in set(names)]
