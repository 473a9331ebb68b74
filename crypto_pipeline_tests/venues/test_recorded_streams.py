"""Recorded sessions of real venues through the parsers: every trade there, nothing unknown, ids without a hole."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from crypto_pipeline.market.bars import BarOrigin
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.aggregation import bars_from_trades
from crypto_pipeline.venues import Alive, Anchor, Event, LiveBar, LiveTrade, Notice, frame_of_live_trades
from crypto_pipeline.venues.binance.stream import BinanceFrames
from crypto_pipeline.venues.client.frame_parser import FrameParser
from crypto_pipeline.venues.coinbase.stream import CoinbaseFrames
from crypto_pipeline.venues.kraken.stream import KrakenFrames
from crypto_pipeline.venues.kraken.stream_v1 import NO_ID, KrakenV1Frames

pytestmark = pytest.mark.realdata
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def frames(path: Path) -> list[bytes]:
    """The messages received, without what was sent and when."""
    with gzip.open(path) as lines:
        return [line.split(b" ", 1)[1].strip() for line in lines if line[:1].isdigit()]


def play(parser: FrameParser, messages: list[bytes]) -> list[Event]:
    return [event for message in messages for event in parser.parse(message)]


def of(events: list[Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def contiguous(trades: list[LiveTrade]) -> bool:
    ids = [trade.trade_id for trade in trades]
    return ids == list(range(ids[0], ids[0] + len(ids)))


def test_binance_sessions_join_across_midnight_without_a_hole(recorded_data: Path) -> None:
    folder = recorded_data / "captures/binance_spot"
    joined: list[LiveTrade] = []
    for name, count, snapshots in (("btcusdt_20240808.gz", 9757, 1), ("btcusdt_20240809.gz", 10147, 0)):
        messages = frames(folder / name)
        parser = BinanceFrames([("BTC-USDT", "BTCUSDT")])
        trades = of(play(parser, messages), LiveTrade)
        assert len(trades) == count == sum(b"@trade" in message for message in messages)
        assert contiguous(trades)
        # The one thing unknown is a REST answer that the recorder put between the messages.
        assert (parser.unknown, parser.malformed, parser.unknown_fields) == (snapshots, 0, set())
        joined += trades
    assert len(joined) == 19_904
    assert contiguous(joined)
    assert joined == sorted(joined, key=lambda trade: trade.time_ms)
    bars = bars_from_trades(frame_of_live_trades(joined), Timeframe.M1, source=BarOrigin.LIVE_AGGREGATED, revision=NOW)
    # The session begins at 23:54:15 and ends at 00:05:05.
    assert bars["open_time"].to_list() == pl.datetime_range(
        datetime(2024, 8, 8, 23, 54, tzinfo=UTC), datetime(2024, 8, 9, 0, 5, tzinfo=UTC), "1m", eager=True
    ).to_list()  # fmt: skip
    assert bars["complete"].all()
    assert bars["trade_count"].sum() == len(joined)
    # The files are cut at the recorder's midnight; the venue's came 1.3 s earlier, inside the first of them.
    minutes: dict[int, list[LiveTrade]] = defaultdict(list)
    for trade in joined:
        minutes[trade.time_ms // 60_000].append(trade)
    assert bars.select("open", "high", "low", "close", "trade_count").rows() == [
        (each[0].price, max(t.price for t in each), min(t.price for t in each), each[-1].price, len(each))
        for each in minutes.values()
    ]
    assert minutes[1723161600 // 60][0].trade_id < 3735693016


def test_binance_bars_and_trades_of_one_session_agree(recorded_data: Path) -> None:
    messages = frames(recorded_data / "captures/binance/BINANCE.ws.1.0.gz")
    symbols = {"NKN-USDT": "NKNUSDT", "BLZ-ETH": "BLZETH", "LRC-BTC": "LRCBTC", "RUNE-EUR": "RUNEEUR"}
    parser = BinanceFrames(list(symbols.items()))
    events = play(parser, messages)
    assert (len(messages), parser.unknown, parser.malformed, parser.unknown_fields) == (265, 0, 0, set())
    bars, trades = of(events, LiveBar), of(events, LiveTrade)
    assert {bar.instrument for bar in bars} == {trade.instrument for trade in trades} == {"NKN-USDT", "LRC-BTC"}
    assert [len(bars), len(trades)] == [2, 2]
    for trade in trades:
        # One trade came in the session and one bar of its minute, at the same moment: the bar ends with the trade.
        (bar,) = (bar for bar in bars if bar.instrument == trade.instrument)
        assert bar.last_id == trade.last_id
        assert bar.close == trade.price
        assert bar.low <= trade.price <= bar.high
        assert bar.open_ms <= trade.time_ms < bar.open_ms + 60_000
        assert bar.trade_count == bar.last_id - bar.first_id + 1
        assert not bar.closed
        if bar.trade_count == 1:
            (made,) = bars_from_trades(
                frame_of_live_trades([trade]), Timeframe.M1, source=BarOrigin.LIVE_AGGREGATED, revision=NOW
            ).iter_rows(named=True)
            stated = msgspec.structs.asdict(bar)
            columns = ("open", "high", "low", "close", "volume", "taker_buy_volume", "trade_count")
            assert {name: made[name] for name in columns} == {name: stated[name] for name in columns}
    assert len(of(events, Alive)) == len(messages) - 4


def test_binance_samples_with_fields_that_are_new(recorded_data: Path) -> None:
    folder = recorded_data / "rest_ws_samples/binance_spot"
    parser = BinanceFrames([("ETH-USDT", "ETHUSDT")])
    (trade,) = parser.parse((folder / "ws_spot_agg_trade.json").read_bytes())
    assert trade == LiveTrade("ETH-USDT", 226532, 228423, 228423, 1675759520847, 1632.46, 0.34305, True)
    assert parser.unknown_fields == {"aggTrade.st"}
    assert parser.counters["fields"] == 1
    (single,) = parser.parse((folder / "ws_spot_trade.json").read_bytes())
    assert isinstance(single, LiveTrade)
    assert isinstance(parser.parse((folder / "ws_spot_ticker_24hr.json").read_bytes())[0], Alive)
    assert (parser.unknown, parser.malformed) == (0, 0)


def test_coinbase_matches_follow_their_anchor(recorded_data: Path) -> None:
    messages = frames(recorded_data / "captures/coinbase/COINBASE.ws.28.0.gz")
    products = sorted({json.loads(message)["product_id"] for message in messages if b'"last_match"' in message})
    parser = CoinbaseFrames([(product, product) for product in products])
    events = play(parser, messages)
    trades = of(events, LiveTrade)
    assert (len(products), len(trades)) == (10, 97)
    assert (parser.unknown, parser.malformed, parser.unknown_fields) == (0, 0, set())
    raw = {
        (match["product_id"], match["trade_id"]): match
        for match in map(json.loads, messages) if match["type"] == "match"
    }  # fmt: skip
    anchors = {anchor.instrument: anchor.last_trade_id for anchor in of(events, Anchor)}
    per_product: dict[str, list[LiveTrade]] = defaultdict(list)
    for trade in trades:
        per_product[trade.instrument].append(trade)
        match = raw[trade.instrument, trade.trade_id]
        assert trade.taker_buy == (match["side"] == "sell")
        assert (trade.price, trade.quantity) == (float(match["price"]), float(match["size"]))
        moment = datetime.fromisoformat(match["time"])
        assert trade.time_ms == int(moment.timestamp()) * 1000 + moment.microsecond // 1000
    for product, several in per_product.items():
        assert contiguous(several), product
        assert several[0].trade_id == anchors[product] + 1, "nothing was lost between subscribing and the first match"
    assert {event.instrument for event in of(events, Notice)} == set(products)


def test_kraken_v1_session(recorded_data: Path) -> None:
    folder = recorded_data / "captures/kraken"
    pairs = "WAVES/EUR XMR/USD KSM/XBT GRT/ETH SC/EUR ETH/CHF OCEAN/XBT OMG/USD XBT/CHF ADA/XBT".split()  # noqa: SIM905
    names = [(pair.replace("XBT", "BTC").replace("/", "-"), pair) for pair in pairs]
    parser = KrakenV1Frames(names)
    messages = frames(folder / "KRAKEN.ws.48.0.gz")
    events = play(parser, messages)
    trades = of(events, LiveTrade)
    said = [row for message in messages if message.startswith(b"[") for row in json.loads(message)[1]]
    assert len(trades) == len(said) == 10
    for trade, (price, volume, seconds, side, _, _) in zip(trades, said, strict=True):
        assert (trade.price, trade.quantity, trade.taker_buy) == (float(price), float(volume), side == "b")
        assert trade.time_ms == int(seconds.replace(".", "")[:13])
        assert trade.trade_id == NO_ID
    kinds = Counter(event.kind for event in of(events, Notice))
    assert kinds == {"subscribed": 10, "status": 1}
    assert "BTC-CHF" in {event.instrument for event in of(events, Notice)}
    assert (parser.unknown, parser.malformed) == (0, 0)
    books = KrakenV1Frames(names)
    assert not of(play(books, frames(folder / "KRAKEN.ws.50.0.gz")), LiveTrade)
    assert (books.frames, books.unknown, books.malformed) == (4321, 0, 0)


def test_kraken_v2_samples(recorded_data: Path) -> None:
    folder = recorded_data / "rest_ws_samples/kraken"
    parser = KrakenFrames([("BTC-USD", "BTC/USD")])
    trades = parser.parse((folder / "ws_trade_update.json").read_bytes())
    assert trades == [
        LiveTrade("BTC-USD", 10218208, 10218208, 10218208, 1696613755440, 105944.20, 0.00027625, True),
        LiveTrade("BTC-USD", 10218209, 10218209, 10218209, 1696613756123, 105910.50, 0.00012460, False),
    ]
    (bar,) = parser.parse((folder / "ws_ohlc_update.json").read_bytes())
    assert bar == LiveBar(
        "BTC-USD", "1m", 1696436700000, 106038.2, 106044.3, 106038.1, 106040.1, 30927.68066226, None, None, 12,
        None, None, False, 1696436700000,
    )  # fmt: skip
    assert parser.parse((folder / "ws_subscribe_response.json").read_bytes()) == [
        Notice("subscribed", "ticker", "BTC-USD")
    ]
    for name in ("ws_pong", "ws_ticker_snapshot"):
        assert parser.parse((folder / f"{name}.json").read_bytes()) == [Alive()]
    assert (parser.unknown, parser.malformed, parser.unknown_fields) == (0, 0, set())
