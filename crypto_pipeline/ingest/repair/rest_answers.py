"""What the venue's REST answers change: in memory, in the table, and in what is requested next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import polars as pl

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, InstrumentStream, Minute
from crypto_pipeline.ingest.repair.gap_watch import GapWatch
from crypto_pipeline.ingest.repair.refusals import Refusals
from crypto_pipeline.ingest.repair.rest_requests import RestRequest
from crypto_pipeline.ingest.term_state import TermState
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.venues import BarsAnswer, TradesAnswer, VenueError
from crypto_pipeline.venues.stream_protocol import LiveBar

log = logging.getLogger(__name__)

_VALUES = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "trade_count")


class RestAnswers:
    """Handles the answers to the requests of one term (see AnswerHandler).

    ``replace_link`` opens a new connection in place of the one that carries an instrument.
    """

    def __init__(
        self, state: TermState, watch: GapWatch, refusals: Refusals, replace_link: Callable[[str], None]
    ) -> None:
        self._state, self._watch, self._refusals, self._replace_link = state, watch, refusals, replace_link
        #: sources of the open alerts about contradictions that this term raised
        self._contradicted: set[str] = set()

    async def take_trades(self, request: RestRequest, answer: TradesAnswer, asked_ms: int) -> None:
        """Add trades that the stream did not bring, remove those that were false."""
        state, watch = self._state, self._watch
        result = state.aggregator.restate(answer, asked_ms)
        symbol, added, removed = request.symbol, result.added, result.removed
        caught_up = watch.catch_up.is_completed_by(symbol, request.end_ms)
        if added or removed:
            log.info("%s (%s): %d trades added, %d removed", symbol, request.why, len(added), len(removed))
        if result.doubted:
            count = len(result.doubted)
            log.warning("%s (%s): the answer lacks %d trades, without proof", symbol, request.why, count)
        if answer.refused:
            await self._refusals.write_trades(answer)
        differs = watch.read_back.differs_in(symbol, request.start_ms, request.end_ms)
        if removed or result.doubted or caught_up or differs:
            # what an earlier process stored may be false as well
            state.buffer.remove(removed)
            await self._restate(answer, removed, asked_ms)
        else:
            state.buffer.waiting.extend(added)
        if watch.is_dead(symbol, len(added)):
            self._replace_link(symbol)
        if caught_up:
            watch.catch_up.complete(symbol)
        stream = state.aggregator.streams.get(symbol)
        if stream is not None:
            watch.take_missing_ids(stream, answer)
            if state.aggregator.states_bars:
                self._ask_silent(stream, answer, state.clock.now_ms())

    async def _restate(self, answer: TradesAnswer, removed: list[LiveTrade], asked_ms: int) -> None:
        """Make the table equal to the answer, after the trades that are being stored right now."""
        state = self._state
        final = from_unix_ms(asked_ms - state.settings.ingest_settle_ms)
        span = answer.instrument, answer.start, answer.end, answer.trades
        ids = [trade.trade_id for trade in removed]

        async def restate() -> None:
            store, venue = state.store, state.venue.name
            restated = await state.run_in(
                state.trade_thread,
                lambda: store.trades.restate(
                    venue, *span, id_before=answer.id_before, id_after=answer.id_after, final=final, also=ids
                ),
            )
            state.trades_stored += restated.added
            await self._alert_contradictions(answer, restated.contradicted)

        await state.lease.retry_until_done(restate)

    async def _alert_contradictions(self, answer: TradesAnswer, contradicted: int) -> None:
        """Keep an alert open while a venue's answers lack stored trades without proof that these were false."""
        store, venue = self._state.store, self._state.venue.name
        source = f"trades:{venue}:{answer.instrument}"
        if contradicted:
            self._contradicted.add(source)
            summary = (
                f"{venue} answered for {answer.instrument} without {contradicted} trades that it had "
                "stated before, and proves nothing: they are kept"
            )
            span = {"start": answer.start.isoformat(), "end": answer.end.isoformat(), "trades": contradicted}
            await asyncio.to_thread(store.checks.raise_alert, source, "warning", summary, span)
        elif source in self._contradicted:
            self._contradicted.discard(source)
            await asyncio.to_thread(store.checks.resolve_alert, source)

    async def take_failure(self, request: RestRequest, error: VenueError, last: bool) -> None:
        """The venue failed for one instrument alone: the others do not wait for it.

        After the last failure healing asks for its missing minutes.
        """
        watch = self._watch
        if last:
            watch.drop_suspicion(request.symbol)
            await self._refusals.write_unanswered(request, error)
            if not request.bars:
                watch.catch_up.complete(request.symbol)
        else:
            watch.catch_up.excuse(request.symbol)

    async def take_recovery(self, symbol: str) -> None:
        """The venue answered for an instrument that it had failed for."""
        await self._refusals.resolve_unanswered(symbol)

    def _ask_silent(self, stream: InstrumentStream, answer: TradesAnswer, now_ms: int) -> None:
        """Request the venue's bars of minutes in which nothing traded, where the venue states such bars."""
        start, end = unix_ms(answer.start), unix_ms(answer.end)
        silent = [
            minute.open_ms
            for minute in stream.minutes.values()
            if _is_silent(minute) and start <= minute.open_ms and minute.end_ms <= end
        ]
        if silent and max(silent) + MINUTE + self._state.settings.ingest_settle_ms <= now_ms:
            self._watch.ask_bars(stream.symbol, min(silent), max(silent) + MINUTE)

    async def take_bars(self, request: RestRequest, answers: list[BarsAnswer]) -> None:
        """The venue's own bars: statements about minutes in memory; bars of earlier minutes are stored."""
        state = self._state
        stream = state.aggregator.streams.get(request.symbol)
        earlier = []
        for answer in answers:
            if answer.refused:
                await self._refusals.write_bars(answer)
            in_memory = stream.forgotten_until_ms if stream is not None else request.end_ms
            here = pl.lit(from_unix_ms(in_memory), UTC_MS)
            earlier.append(answer.bars.filter(pl.col("open_time") < here))
            for row in answer.bars.filter(pl.col("open_time") >= here).iter_rows(named=True):
                bar = _live_bar(row, request.symbol)
                state.aggregator.bar(bar)
                if stream is not None and not bar.volume and bar.open_ms in stream.minutes:
                    stream.minutes[bar.open_ms].has_rest_trades = True
        bars = pl.concat(earlier) if earlier else None
        if bars is not None and bars.height:

            async def write() -> None:
                result = await asyncio.to_thread(state.store.bars.write, bars, Timeframe.M1)
                await self._refusals.write_unstored(result.refused)
                state.bars_made += result.inserted + result.superseded

            await state.lease.retry_until_done(write)
            state.gaps_filled += 1


def _is_silent(minute: Minute) -> bool:
    return minute.stated_by_rest and not minute.count and minute.stated is None and not minute.settled


def _live_bar(row: dict[str, Any], symbol: str) -> LiveBar:
    open_ms = unix_ms(row["open_time"])
    values = {name: row[name] for name in _VALUES}
    ends: dict[str, Any] = {"first_id": None, "last_id": None, "closed": True, "event_ms": open_ms + MINUTE}
    return LiveBar(instrument=symbol, timeframe="1m", open_ms=open_ms, **values, **ends)
