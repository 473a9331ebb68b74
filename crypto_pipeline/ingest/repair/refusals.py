"""Refused rows of streams and answers, and requests without an answer: written down with the reason.

Refused trades and bars go to tables of their own. A minute that has no bar for such a reason is in the ledger at once;
from there healing asks for it with growing pauses, until it has the bar or has asked often enough.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE
from crypto_pipeline.ingest.repair.rest_requests import RestRequest
from crypto_pipeline.ingest.term_state import TermState
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.gaps.arithmetic import subtract
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.store import Store
from crypto_pipeline.venues import BarsAnswer, RejectedRow, TradesAnswer, VenueError, invalid_data
from crypto_pipeline.venues.stream_protocol import Notice

log = logging.getLogger(__name__)

#: So many refused rows of a stream are held until the next round; of more only the number is logged.
_MOST = 2_000
_SPAN = {"instrument": pl.String(), "start": UTC_MS, "end": UTC_MS}


class Refusals:
    """Writes down what one term refused.

    Rows of the stream wait for the next round, so that taking one in costs no query.
    """

    def __init__(self, state: TermState) -> None:
        self._state = state
        self._waiting: list[Notice] = []
        self._dropped = 0
        #: instruments with an open alert that this term raised
        self._alerted: set[str] = set()

    # -- from the stream ------------------------------------------------------------------------------------------

    def take(self, notice: Notice) -> None:
        """Take in a refused row of the stream; other notices are left out."""
        if notice.refused is None:
            return
        if len(self._waiting) < _MOST:
            self._waiting.append(notice)
        else:
            self._dropped += 1

    async def write(self) -> None:
        """One round: write what came since the last one. Raises StoreError, and then the next round writes it."""
        waiting, self._waiting = self._waiting, []
        dropped, self._dropped = self._dropped, 0
        if not waiting:
            return
        counts = Counter(notice.instrument for notice in waiting)
        log.warning("%d rows of the stream are refused: %s", len(waiting) + dropped, dict(counts))
        store, venue = self._state.store, self._state.venue.name
        try:
            await asyncio.to_thread(_write, store, venue, waiting)
            over = [
                (notice.instrument, notice.refused.ms, notice.refused.why)
                for notice in waiting
                if notice.over and notice.timeframe == Timeframe.M1 and notice.refused is not None
            ]
            rows = [(name, ms, why) for name, ms, why in over if name is not None and ms is not None]
            if rows:
                await asyncio.to_thread(record_refused, store, venue, rows)
        except BaseException:
            self._waiting = [*waiting, *self._waiting][:_MOST]
            raise

    # -- from answers ---------------------------------------------------------------------------------------------

    async def write_trades(self, answer: TradesAnswer) -> None:
        """Write down the refused trades of an answer."""
        state = self._state

        async def work() -> None:
            await asyncio.to_thread(state.store.trades.refuse, state.venue.name, answer.instrument, answer.refused)

        await state.lease.retry_until_done(work)

    async def write_bars(self, answer: BarsAnswer) -> None:
        """Write down the refused bars of an answer, and put their minutes into the ledger."""
        state = self._state
        stated = set(answer.bars["open_time"].to_list())
        rows = [
            (answer.instrument, one.ms, one.why)
            for one in answer.refused
            if one.ms is not None and from_unix_ms(one.ms - one.ms % MINUTE) not in stated
        ]

        async def work() -> None:
            store, venue = state.store, state.venue.name
            await asyncio.to_thread(store.bars_apart.refuse, venue, answer.instrument, Timeframe.M1, answer.refused)
            await asyncio.to_thread(record_refused, store, venue, rows)

        await state.lease.retry_until_done(work)

    async def write_unstored(self, refused: Sequence[tuple[str, datetime, str]]) -> None:
        """Put minutes into the ledger whose bars the store refused: (instrument, open time, why). Raises StoreError."""
        rows = [(name, unix_ms(opened), why) for name, opened, why in refused]
        await asyncio.to_thread(record_refused, self._state.store, "a bar made of its trades", rows)

    # -- without an answer ----------------------------------------------------------------------------------------

    async def write_unanswered(self, request: RestRequest, error: VenueError) -> None:
        """The venue was asked often enough: healing asks for its minutes from now on, and an alert is raised."""
        state, venue = self._state, self._state.venue.name
        what = "bars" if request.bars else "trades"
        because = f"{venue} was asked {request.failures} times for {what} of {request.symbol} and gave none: {error}"
        last_ms = min(-(-request.end_ms // MINUTE), state.clock.now_ms() // MINUTE) * MINUTE
        start, end = from_unix_ms(request.start_ms - request.start_ms % MINUTE), from_unix_ms(last_ms)
        detail = {"start": start.isoformat(), "end": end.isoformat(), "why": request.why}

        async def work() -> None:
            store, source = state.store, self._alert(request.symbol)
            if start < end:
                span = request.symbol, start, end
                await asyncio.to_thread(_record, store, span, because, "unanswered", request.failures)
            await asyncio.to_thread(store.checks.raise_alert, source, "warning", because, detail)

        await state.lease.retry_until_done(work)
        self._alerted.add(request.symbol)

    async def resolve_unanswered(self, symbol: str) -> None:
        """The venue answers for this instrument again: close its alert."""
        if symbol not in self._alerted:
            return
        state = self._state

        async def work() -> None:
            await asyncio.to_thread(state.store.checks.resolve_alert, self._alert(symbol))

        await state.lease.retry_until_done(work)
        self._alerted.discard(symbol)

    def _alert(self, symbol: str) -> str:
        return f"asks:{self._state.venue.name}:{symbol}"


def _write(store: Store, venue: str, notices: Sequence[Notice]) -> None:
    trades: dict[str, list[RejectedRow]] = {}
    bars: dict[tuple[str, str], list[RejectedRow]] = {}
    for notice in notices:
        if notice.refused is None or notice.instrument is None:
            continue
        if not notice.timeframe:
            trades.setdefault(notice.instrument, []).append(notice.refused)
        elif notice.timeframe in list(Timeframe):
            bars.setdefault((notice.instrument, notice.timeframe), []).append(notice.refused)
    for name, rows in trades.items():
        store.trades.refuse(venue, name, rows)
    for (name, timeframe), rows in bars.items():
        store.bars_apart.refuse(venue, name, Timeframe(timeframe), rows)


def record_refused(store: Store, who: str, rows: Sequence[tuple[str, int, str]]) -> None:
    """Put minutes (instrument, Unix ms in it, why) into the ledger, as far as they have no bar and no reason yet."""
    last = {(name, ms - ms % MINUTE): why for name, ms, why in rows}
    for (name, open_ms), why in last.items():
        span = name, from_unix_ms(open_ms), from_unix_ms(open_ms + MINUTE)
        _record(store, span, f"{who} {invalid_data(why)}", "refused", 1)


def _record(store: Store, span: tuple[str, datetime, datetime], because: str, rule: str, attempts: int) -> None:
    name, start, end = span
    recorded = store.ledger.open(timeframe=Timeframe.M1, instruments=[name], start=start, end=end)
    absent = subtract(pl.DataFrame([span], schema=_SPAN, orient="row"), recorded.select(*_SPAN))
    store.ledger.record(
        absent.with_columns(
            pl.lit(str(Timeframe.M1)).alias("timeframe"),
            pl.lit("lost").alias("state"),
            pl.lit(json.dumps({"because": because, "rule": rule, "attempts": attempts})).alias("evidence"),
        )
    )
