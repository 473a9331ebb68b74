"""Merging what REST states of a span: missing trades are added, trades that ids prove false are removed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, InstrumentStream, Minute
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.market.trades.stated_trades import proven_absent, whole_spans
from crypto_pipeline.venues import TradesAnswer


@dataclass(slots=True)
class Restated:
    """What a REST answer changed: trades that were added, and false ones that were removed.

    ``doubted`` are trades that the answer lacks without proof: they stay.
    """

    added: list[LiveTrade] = field(default_factory=list)
    removed: list[LiveTrade] = field(default_factory=list)
    doubted: list[LiveTrade] = field(default_factory=list)


class MergeTarget(Protocol):
    """The state of all instruments, as far as a merge changes or needs it."""

    #: venue milliseconds after the end of a minute until late trades are not expected any more
    settle_ms: int
    #: instruments in which something happened
    moved: set[InstrumentStream]
    counters: dict[str, int]

    def too_late(self, stream: InstrumentStream, trade: LiveTrade) -> None:
        """Take a trade of a minute that is not in memory any more."""


def restate(target: MergeTarget, stream: InstrumentStream, answer: TradesAnswer, asked_ms: int) -> Restated:
    """Make one instrument equal to an answer that was asked for at ``asked_ms`` (venue time)."""
    start, end = unix_ms(answer.start), unix_ms(answer.end)
    stated = {trade.trade_id: trade for trade in live_trades(answer.trades)}
    # the answer is older than the trades that streamed in while it was on its way
    until = max(stated) if stated and answer.id_after is None else (1 << 62)
    final = end if answer.id_after is not None else min(end, asked_ms - target.settle_ms)
    ids = sorted(stated)
    whole = whole_spans(ids, [stated[one].time_ms for one in ids], start, end, answer.id_before, answer.id_after)
    result = Restated()
    touched: set[int] = set()
    for minute in list(stream.minutes.values()):
        if minute.open_ms >= end or minute.end_ms <= start:
            continue
        result.removed += _correct(stream, minute, stated, whole, touched)
        result.doubted += [
            trade
            for trade in minute.trades
            if trade.trade_id not in stated and start <= trade.time_ms < min(end, final) and trade.trade_id <= until
        ]
    _fill(target, stream, list(stated.values()), result, touched)
    doubted = {trade.time_ms - trade.time_ms % MINUTE for trade in result.doubted}
    _settle_edges(stream, answer, (start, min(end, asked_ms - target.settle_ms)), doubted)
    for open_ms in touched:
        minute = stream.minutes[open_ms]
        minute.changed_ms = max(minute.changed_ms, asked_ms)
    traded = [open_ms for open_ms, minute in stream.minutes.items() if minute.count]
    stream.current = stream.minutes[max(traded)] if traded else None
    target.moved.add(stream)
    target.counters["restated"] += len(result.added)
    target.counters["false_ids"] += len(result.removed)
    return result


def _correct(
    stream: InstrumentStream,
    minute: Minute,
    stated: dict[int, LiveTrade],
    whole: list[tuple[int, int]],
    touched: set[int],
) -> list[LiveTrade]:
    """Remove trades that REST states otherwise, or that cannot exist between the ids it states; returns them."""
    false = [
        trade
        for trade in minute.trades
        if (stated[trade.trade_id] != trade if trade.trade_id in stated else proven_absent(trade.time_ms, whole))
    ]
    if false:
        ids = {trade.trade_id for trade in false}
        minute.replace([trade for trade in minute.trades if trade.trade_id not in ids])
        minute.has_rest_trades = True
        touched.add(minute.open_ms)
        for trade in false:
            stream.ids.discard(trade.trade_id, trade.first_id, trade.last_id)
        if stream.last is not None and stream.last.trade_id in ids:
            stream.last = None
    return false


def _fill(
    target: MergeTarget, stream: InstrumentStream, trades: list[LiveTrade], result: Restated, touched: set[int]
) -> None:
    """Add trades that were not known; to minutes that were reopened, also known ones."""
    in_minute: dict[int, set[int]] = {}
    for trade in trades:
        open_ms = trade.time_ms - trade.time_ms % MINUTE
        new = stream.ids.add(trade.trade_id, trade.time_ms, trade.first_id, trade.last_id)
        if stream.last is None or trade.trade_id > stream.last.trade_id:
            stream.last = trade
        if open_ms < stream.forgotten_until_ms:
            if new:
                result.added.append(trade)
                target.too_late(stream, trade)
            continue
        minute = stream.minute(open_ms)
        if minute.summary_only:
            if new:
                result.added.append(trade)
                target.too_late(stream, trade)
            continue
        if open_ms not in in_minute:
            in_minute[open_ms] = {each.trade_id for each in minute.trades} if minute.trades_incomplete else set()
        if new or (minute.trades_incomplete and trade.trade_id not in in_minute[open_ms]):
            result.added.append(trade)
            minute.add(trade)
            minute.has_rest_trades = True
            touched.add(open_ms)


def _settle_edges(stream: InstrumentStream, answer: TradesAnswer, span: tuple[int, int], doubted: set[int]) -> None:
    """Mark minutes as stated by REST that lie whole in ``span`` and ended before it was asked.

    Minutes with doubted trades are left out.
    """
    start, end = span
    for open_ms in range(-(-start // MINUTE) * MINUTE, end - MINUTE + 1, MINUTE):
        if open_ms < stream.forgotten_until_ms or open_ms in doubted:
            continue
        minute = stream.minute(open_ms)
        if not minute.stated_by_rest and not minute.summary_only:
            minute.stated_by_rest = minute.changed_since_write = True


def live_trades(frame: pl.DataFrame) -> list[LiveTrade]:
    """Trades of TRADE_SCHEMA as events of a stream, in the same order."""
    columns = ("instrument", "trade_id", "first_id", "last_id", "time", "price", "quantity", "taker_side")
    rows = frame.select(columns).with_columns(pl.col("time").to_physical(), pl.col("taker_side") == "buy")
    return [LiveTrade(*row) for row in rows.iter_rows()]
