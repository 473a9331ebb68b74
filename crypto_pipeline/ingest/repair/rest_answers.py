"""What the venue's REST answers change: in memory, in the table, and in what is asked next."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import polars as pl

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, Minute, Series
from crypto_pipeline.ingest.repair.rest_requests import Ask, moment
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import BarsAnswer, TradesAnswer, VenueError
from crypto_pipeline.venues.stream_protocol import LiveBar, LiveTrade

if TYPE_CHECKING:
    from crypto_pipeline.ingest.term import Ingest

log = logging.getLogger(__name__)

_VALUES = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "trade_count")


class Answers:
    """Takes in the answers to what one term asked."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        #: alerts that say so, which this term raised
        self._contradicted: set[str] = set()

    async def take_trades(self, ask: Ask, answer: TradesAnswer, asked_ms: int) -> None:
        """Put trades in that the stream did not bring, take those out that were false."""
        ingest, watch = self._ingest, self._ingest.watch
        result = ingest.aggregator.restate(answer, asked_ms)
        caught_up = watch.recovering.get(ask.symbol, ask.end_ms) < ask.end_ms
        if result.added or result.removed:
            log.info("%s (%s): %d trades, %d false", ask.symbol, ask.why, len(result.added), len(result.removed))
        if result.doubted:
            log.warning("%s (%s): the answer lacks %d trades, without proof", ask.symbol, ask.why, len(result.doubted))
        if answer.refused:
            await ingest.refusals.of_trades(answer)
        concerned = watch.proofreader.concerns(ask.symbol, ask.start_ms, ask.end_ms)
        if result.removed or result.doubted or caught_up or concerned:
            # what an earlier process stored may be false as well
            ingest.buffer.strike(result.removed)
            await self._restate(answer, result.removed, asked_ms)
        else:
            ingest.buffer.waiting.extend(result.added)
        if ask.symbol in watch.suspects:
            watch.suspects.discard(ask.symbol)
            if watch.silence.verdict(ask.symbol, len(result.added)):
                ingest.session.replace(ask.symbol)
        if caught_up:
            watch.caught_up(ask.symbol)
        series = ingest.aggregator.series.get(ask.symbol)
        if series is not None:
            watch.hidden(series, answer)
            if ingest.aggregator.states_bars:
                self._ask_silent(series, answer, ingest.clock.now_ms())

    async def _restate(self, answer: TradesAnswer, removed: list[LiveTrade], asked_ms: int) -> None:
        """Make the database say what REST says, after what is being stored right now."""
        ingest = self._ingest
        final = moment(asked_ms - ingest.settings.ingest_settle_ms)
        span = answer.instrument, answer.start, answer.end, answer.trades
        ids = [trade.trade_id for trade in removed]

        async def restate() -> None:
            store, venue = ingest.holder.store, ingest.venue.name
            found = await ingest.on_edge(
                lambda: store.trades.restate(
                    venue, *span, id_before=answer.id_before, id_after=answer.id_after, final=final, also=ids
                )
            )
            ingest.stored += found.added
            await self._report(answer, found.contradicted)

        await ingest.surely(restate)

    async def _report(self, answer: TradesAnswer, contradicted: int) -> None:
        """An alert while a venue's answers lack trades that are stored, without proof that those were false."""
        store, source = self._ingest.holder.store, f"trades:{self._ingest.venue.name}:{answer.instrument}"
        if contradicted:
            self._contradicted.add(source)
            summary = (
                f"{self._ingest.venue.name} answered for {answer.instrument} without {contradicted} trades that it had "
                "stated before, and proves nothing: they are kept"
            )
            span = {"start": answer.start.isoformat(), "end": answer.end.isoformat(), "trades": contradicted}
            await asyncio.to_thread(store.checks.raise_alert, source, "warning", summary, span)
        elif source in self._contradicted:
            self._contradicted.discard(source)
            await asyncio.to_thread(store.checks.resolve_alert, source)

    async def take_failure(self, ask: Ask, error: VenueError, last: bool) -> None:
        """The venue fails for one instrument: the others do not wait for it, and after the last time healing has it."""
        watch = self._ingest.watch
        if last:
            watch.suspects.discard(ask.symbol)
            await self._ingest.refusals.not_had(ask, error)
            if not ask.bars:
                watch.caught_up(ask.symbol)
        else:
            watch.excuse(ask.symbol)

    def _ask_silent(self, series: Series, answer: TradesAnswer, now_ms: int) -> None:
        """Minutes in which nothing traded have a bar too, where the venue states them."""
        start, end = (round(each.timestamp() * 1000) for each in (answer.start, answer.end))
        silent = [
            minute.open_ms
            for minute in series.minutes.values()
            if _silent(minute) and start <= minute.open_ms and minute.end_ms <= end
        ]
        if silent and max(silent) + MINUTE + self._ingest.settings.ingest_settle_ms <= now_ms:
            self._ingest.watch.ask_bars(series.symbol, min(silent), max(silent) + MINUTE)

    async def take_bars(self, ask: Ask, answers: list[BarsAnswer]) -> None:
        """The venue's own bars: statements about minutes that are in memory, bars to store for those that are not."""
        ingest, watch = self._ingest, self._ingest.watch
        series = ingest.aggregator.series.get(ask.symbol)
        older = []
        for answer in answers:
            if answer.refused:
                await ingest.refusals.of_bars(answer)
            here = pl.lit(moment(series.gone_ms if series is not None else ask.end_ms), UTC_MS)
            older.append(answer.bars.filter(pl.col("open_time") < here))
            for row in answer.bars.filter(pl.col("open_time") >= here).iter_rows(named=True):
                bar = _stated(row, ask.symbol)
                ingest.aggregator.bar(bar)
                if series is not None and not bar.volume and bar.open_ms in series.minutes:
                    series.minutes[bar.open_ms].rest = True
        bars = pl.concat(older) if older else None
        if bars is not None and bars.height:

            async def write() -> None:
                result = await asyncio.to_thread(ingest.holder.store.bars.write, bars, Timeframe.M1)
                await ingest.refusals.by_store(result.refused)
                ingest.bars_made += result.inserted + result.superseded

            await ingest.surely(write)
            watch.filled += 1


def _silent(minute: Minute) -> bool:
    return minute.sealed and not minute.count and minute.stated is None and not minute.settled


def _stated(row: dict[str, Any], symbol: str) -> LiveBar:
    open_ms = round(row["open_time"].timestamp() * 1000)
    values = {name: row[name] for name in _VALUES}
    ends = {"first_id": None, "last_id": None, "closed": True, "event_ms": open_ms + MINUTE}
    return LiveBar(instrument=symbol, timeframe="1m", open_ms=open_ms, **values, **ends)
