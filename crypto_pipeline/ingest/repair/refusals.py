"""What is not believed of a stream or an answer, and what could not be had at all: written down, with the reason.

Rows go to the tables of trades and bars that are kept apart. A minute that has no bar for such a reason is in the
ledger at once; from there healing asks for it with growing pauses, until it has it or was asked often enough.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE
from crypto_pipeline.ingest.repair.rest_requests import Ask, moment
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.gaps.arithmetic import subtract
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.venues import BarsAnswer, RejectedRow, TradesAnswer, VenueError, cannot_be
from crypto_pipeline.venues.stream_protocol import Notice

if TYPE_CHECKING:
    from crypto_pipeline.ingest.term import Ingest

log = logging.getLogger(__name__)

#: Rows of a stream that are held until the next round; of more the number is told.
_MOST = 2_000
_SPAN = {"instrument": pl.String(), "start": UTC_MS, "end": UTC_MS}


class Refusals:
    """Writes down what one term did not believe."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._waiting: list[Notice] = []
        self._dropped = 0
        #: instruments with an open alert that this term raised
        self._told: set[str] = set()

    # -- what a stream said ---------------------------------------------------------------------------------------

    def heard(self, notice: Notice) -> None:
        """Take in what a stream said and what is not believed."""
        if notice.refused is None:
            return
        if len(self._waiting) < _MOST:
            self._waiting.append(notice)
        else:
            self._dropped += 1

    async def write(self) -> None:
        """One round: what came since the last one."""
        waiting, self._waiting = self._waiting, []
        dropped, self._dropped = self._dropped, 0
        if not waiting:
            return
        many = Counter(notice.instrument for notice in waiting)
        log.warning("the stream said %d things that are not believed: %s", len(waiting) + dropped, dict(many))
        store, venue = self._ingest.holder.store, self._ingest.venue.name
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

    # -- what an answer said --------------------------------------------------------------------------------------

    async def of_trades(self, answer: TradesAnswer) -> None:
        """Write down the trades of an answer that cannot be."""
        store, venue = self._ingest.holder.store, self._ingest.venue.name

        async def work() -> None:
            await asyncio.to_thread(store.trades.refuse, venue, answer.instrument, answer.refused)

        await self._ingest.surely(work)

    async def of_bars(self, answer: BarsAnswer) -> None:
        """Write down the bars of an answer that cannot be, and that their minutes lack them."""
        store, venue = self._ingest.holder.store, self._ingest.venue.name
        stated = set(answer.bars["open_time"].to_list())
        rows = [
            (answer.instrument, one.ms, one.why)
            for one in answer.refused
            if one.ms is not None and moment(one.ms - one.ms % MINUTE) not in stated
        ]

        async def work() -> None:
            await asyncio.to_thread(store.bars_apart.refuse, venue, answer.instrument, Timeframe.M1, answer.refused)
            await asyncio.to_thread(record_refused, store, venue, rows)

        await self._ingest.surely(work)

    async def by_store(self, refused: Sequence[tuple[str, datetime, str]]) -> None:
        """Put minutes into the ledger whose bars could not be stored."""
        rows = [(name, round(at.timestamp() * 1000), why) for name, at, why in refused]
        store = self._ingest.holder.store
        await asyncio.to_thread(record_refused, store, "a bar made of its trades", rows)

    # -- what could not be had ------------------------------------------------------------------------------------

    async def not_had(self, ask: Ask, error: VenueError) -> None:
        """The venue was asked often enough: from now on its minutes without a bar are healing's, and a person knows."""
        store, venue = self._ingest.holder.store, self._ingest.venue.name
        what = "bars" if ask.bars else "trades"
        said = f"{venue} was asked {ask.failures} times for {what} of {ask.symbol} and gave none: {error}"
        now_ms = self._ingest.clock.now_ms()
        start, end = ask.start_ms - ask.start_ms % MINUTE, min(-(-ask.end_ms // MINUTE), now_ms // MINUTE) * MINUTE
        source = self._alert(ask.symbol)
        detail = {"start": moment(start).isoformat(), "end": moment(end).isoformat(), "why": ask.why}

        async def work() -> None:
            if start < end:
                await asyncio.to_thread(_record, store, [(ask.symbol, start, end)], said, "unanswered", ask.failures)
            await asyncio.to_thread(store.checks.raise_alert, source, "warning", said, detail)

        await self._ingest.surely(work)
        self._told.add(ask.symbol)

    async def had(self, symbol: str) -> None:
        """The venue answered for this instrument again."""
        if symbol in self._told:
            self._told.discard(symbol)
            await asyncio.to_thread(self._ingest.holder.store.checks.resolve_alert, self._alert(symbol))

    def _alert(self, symbol: str) -> str:
        return f"asks:{self._ingest.venue.name}:{symbol}"


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
    """Put minutes (instrument, ms in it, why) into the ledger, as far as they have no bar and no reason yet."""
    last = {(name, ms - ms % MINUTE): why for name, ms, why in rows}
    for (name, open_ms), why in last.items():
        because = f"{who} {cannot_be(why)}"
        _record(store, [(name, open_ms, open_ms + MINUTE)], because, "refused", 1)


def _record(store: Store, spans: Sequence[tuple[str, int, int]], because: str, rule: str, attempts: int) -> None:
    rows = [(name, moment(start), moment(end)) for name, start, end in spans]
    wanted = pl.DataFrame(rows, schema=_SPAN, orient="row")
    name, start, end = rows[0]
    known = store.ledger.open(timeframe=Timeframe.M1, instruments=[name], start=start, end=end)
    absent = subtract(wanted, known.select(*_SPAN))
    store.ledger.record(
        absent.with_columns(
            pl.lit(str(Timeframe.M1)).alias("timeframe"),
            pl.lit("lost").alias("state"),
            pl.lit(json.dumps({"because": because, "rule": rule, "attempts": attempts})).alias("evidence"),
        )
    )
