"""Bars that are forming, of every timeframe."""

from __future__ import annotations

import pytest

from crypto_pipeline.ingest.aggregation.forming_bars import FormingBars
from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, InstrumentStream
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.store import LivePrice

#: Open time of an hour.
HOUR_MS = 1_767_258_000_000


def trade(number: int, minute: int, price: float) -> LiveTrade:
    at = HOUR_MS + minute * MINUTE + 1
    return LiveTrade("BTC-USDT", number, number, number, at, price, 1.0, taker_buy=True)


def add(stream: InstrumentStream, one: LiveTrade) -> None:
    stream.current, stream.last = stream.minute(one.time_ms - one.time_ms % MINUTE), one
    stream.current.add(one)


def wide(stream: InstrumentStream, forming: FormingBars) -> LivePrice:
    (found,) = [row for row in forming.prices([], [stream]) if row.timeframe is Timeframe.H1]
    return found


@pytest.mark.parametrize("stored", [False, True])
def test_a_wide_bar_has_the_minutes_that_are_over_also_when_their_trades_were_dropped(stored: bool) -> None:
    stream, forming = InstrumentStream("BTC-USDT"), FormingBars()
    for number, price in enumerate((100.0, 120.0, 90.0)):
        add(stream, trade(number, minute=0, price=price))
    if stored:
        stream.minutes[HOUR_MS].drop_trades()
    add(stream, trade(3, minute=1, price=110.0))
    row = wide(stream, forming)
    assert (row.open_ms, row.open, row.high, row.low, row.close) == (HOUR_MS, 100.0, 120.0, 90.0, 110.0)
    assert (row.volume, row.trade_count) == (4.0, 4)
