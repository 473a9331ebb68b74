"""Kraken's 1m bars computed from its trades, equal to those of OHLC, which keeps only the newest ones."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from crypto_pipeline.market.bars import UTC_MS, BarOrigin, as_bars, empty_bars
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.market.trades.aggregation import bars_from_trades
from crypto_pipeline.venues.kraken.parse import KrakenTrade
from crypto_pipeline.venues.trade_rows import frame_of_trades


def minutes_of_trades(
    instrument: str,
    start: datetime,
    end: datetime,
    before: KrakenTrade | None,
    inside: list[KrakenTrade],
    after: KrakenTrade | None,
    stated: datetime,
) -> pl.DataFrame:
    """BAR_SCHEMA frame of the 1m bars of ``[start, end)`` (UTC).

    A minute without trades becomes a flat bar at the previous close, as the venue states it, if trade ids are
    contiguous across it, which proves that nothing traded. If an id is missing, or before the first trade ever,
    there is no bar.
    """
    trades = frame_of_trades(inside, instrument)
    made = bars_from_trades(
        trades,
        Timeframe.M1,
        source=BarOrigin.HISTORICAL_AGGREGATED,
        revision=stated,
        id_before=before.trade_id if before else None,
        id_after=after.trade_id if after else None,
    )
    silent = _silent_minutes(start, end, [before, *inside, after])
    if silent.is_empty():
        return made
    flat = silent.with_columns(
        pl.lit(instrument).alias("instrument"),
        *(pl.col("close").alias(name) for name in ("open", "high", "low")),
        *(pl.lit(0.0).alias(name) for name in ("volume", "quote_volume", "taker_buy_volume")),
        pl.lit(0).alias("trade_count"),
        pl.lit(str(BarOrigin.HISTORICAL_AGGREGATED)).alias("source"),
        pl.lit(True).alias("complete"),
        pl.lit(stated, UTC_MS).alias("revision"),
    )
    return pl.concat([made, as_bars(flat)]).sort("open_time")


def _silent_minutes(start: datetime, end: datetime, trades: list[KrakenTrade | None]) -> pl.DataFrame:
    """``open_time`` and ``close`` (the previous trade's price) of minutes between two trades with consecutive ids."""
    width = Timeframe.M1.milliseconds
    begin, until = unix_ms(start), unix_ms(end)
    known = [trade for trade in trades if trade is not None]
    times: list[int] = []
    closes: list[float] = []
    for place, trade in enumerate(known):
        upcoming = known[place + 1] if place + 1 < len(known) else None
        if upcoming is not None and upcoming.trade_id != trade.trade_id + 1:
            continue
        # After the newest trade: no trades until the end of the span, which has ended.
        limit = upcoming.ms // width * width if upcoming is not None else until
        for minute in range(max(trade.ms // width * width + width, begin), min(limit, until), width):
            times.append(minute)
            closes.append(trade.price)
    if not times:
        return empty_bars().select("open_time", "close")
    return pl.DataFrame({"open_time": times, "close": closes}).with_columns(
        pl.from_epoch("open_time", time_unit="ms").dt.replace_time_zone("UTC")
    )
