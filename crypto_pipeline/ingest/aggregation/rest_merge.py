"""Taking over what REST states of a span: trades that were missing go in, trades that ids prove false go out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, Minute, Series
from crypto_pipeline.market.stated_trades import proven_absent, whole_spans
from crypto_pipeline.venues import TradesAnswer
from crypto_pipeline.venues.stream_protocol import LiveTrade

if TYPE_CHECKING:
    from crypto_pipeline.ingest.aggregation.aggregator import Aggregator


@dataclass(slots=True)
class Restated:
    """What a REST answer changed: trades that are new, and trades that were false.

    ``doubted`` are trades that it lacks without proof: they stay.
    """

    added: list[LiveTrade] = field(default_factory=list)
    removed: list[LiveTrade] = field(default_factory=list)
    doubted: list[LiveTrade] = field(default_factory=list)


def restate(aggregator: Aggregator, series: Series, answer: TradesAnswer, asked_ms: int) -> Restated:
    """As ``Aggregator.restate``, of one instrument that it has."""
    start, end = _ms(answer.start), _ms(answer.end)
    stated = {trade.trade_id: trade for trade in live_trades(answer.trades)}
    # the answer is older than the trades that streamed in while it was on its way
    upto = max(stated) if stated and answer.id_after is None else (1 << 62)
    final = end if answer.id_after is not None else min(end, asked_ms - aggregator.settle_ms)
    ids = sorted(stated)
    whole = whole_spans(ids, [stated[one].time_ms for one in ids], start, end, answer.id_before, answer.id_after)
    result = Restated()
    touched: set[int] = set()
    for minute in list(series.minutes.values()):
        if minute.open_ms >= end or minute.end_ms <= start:
            continue
        result.removed += _correct(series, minute, stated, whole, touched)
        result.doubted += [
            trade
            for trade in minute.trades
            if trade.trade_id not in stated and start <= trade.time_ms < min(end, final) and trade.trade_id <= upto
        ]
    _fill(aggregator, series, list(stated.values()), result, touched)
    doubted = {trade.time_ms - trade.time_ms % MINUTE for trade in result.doubted}
    _settle_edges(series, answer, (start, min(end, asked_ms - aggregator.settle_ms)), doubted)
    for open_ms in touched:
        minute = series.minutes[open_ms]
        minute.changed_ms = max(minute.changed_ms, asked_ms)
    traded = [open_ms for open_ms, minute in series.minutes.items() if minute.count]
    series.current = series.minutes[max(traded)] if traded else None
    aggregator.moved.add(series)
    aggregator.counters["restated"] += len(result.added)
    aggregator.counters["false_ids"] += len(result.removed)
    return result


def _correct(
    series: Series,
    minute: Minute,
    stated: dict[int, LiveTrade],
    whole: list[tuple[int, int]],
    touched: set[int],
) -> list[LiveTrade]:
    """Drop trades that REST states otherwise, or that the ids it states leave no room for; returns them."""
    false = [
        trade
        for trade in minute.trades
        if (stated[trade.trade_id] != trade if trade.trade_id in stated else proven_absent(trade.time_ms, whole))
    ]
    if false:
        ids = {trade.trade_id for trade in false}
        minute.replace([trade for trade in minute.trades if trade.trade_id not in ids])
        minute.rest = True
        touched.add(minute.open_ms)
        for trade in false:
            series.ids.discard(trade.trade_id, trade.first_id, trade.last_id)
        if series.last is not None and series.last.trade_id in ids:
            series.last = None
    return false


def _fill(aggregator: Aggregator, series: Series, trades: list[LiveTrade], result: Restated, touched: set[int]) -> None:
    """Put in what was not known, and into minutes that were opened again also what was."""
    have: dict[int, set[int]] = {}
    for trade in trades:
        open_ms = trade.time_ms - trade.time_ms % MINUTE
        new = series.ids.add(trade.trade_id, trade.time_ms, trade.first_id, trade.last_id)
        if series.last is None or trade.trade_id > series.last.trade_id:
            series.last = trade
        if open_ms < series.gone_ms:
            if new:
                result.added.append(trade)
                aggregator.too_late(series, trade)
            continue
        minute = series.minute(open_ms)
        if minute.thin:
            if new:
                result.added.append(trade)
                aggregator.too_late(series, trade)
            continue
        if open_ms not in have:
            have[open_ms] = {each.trade_id for each in minute.trades} if minute.hollow else set()
        if new or (minute.hollow and trade.trade_id not in have[open_ms]):
            result.added.append(trade)
            minute.add(trade)
            minute.rest = True
            touched.add(open_ms)


def _settle_edges(series: Series, answer: TradesAnswer, span: tuple[int, int], doubted: set[int]) -> None:
    """Minutes that lie whole inside what REST has stated after their end are proven at both edges.

    Not so those of which it lacks trades that came before.
    """
    start, end = span
    for open_ms in range(-(-start // MINUTE) * MINUTE, end - MINUTE + 1, MINUTE):
        if open_ms < series.gone_ms or open_ms in doubted:
            continue
        minute = series.minute(open_ms)
        if not minute.sealed and not minute.thin:
            minute.sealed = minute.dirty = True


def live_trades(frame: pl.DataFrame) -> list[LiveTrade]:
    """Trades of TRADE_SCHEMA as events."""
    columns = ("instrument", "trade_id", "first_id", "last_id", "time", "price", "quantity", "taker_side")
    rows = frame.select(columns).with_columns(pl.col("time").to_physical(), pl.col("taker_side") == "buy")
    return [LiveTrade(*row) for row in rows.iter_rows()]


def _ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
