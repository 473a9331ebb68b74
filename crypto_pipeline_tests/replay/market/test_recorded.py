"""Recorded files: real ones served as they are, and the layouts people keep theirs in."""

from __future__ import annotations

import gzip
import json
import logging
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.replay import RecordedMarket, ReplayError, ReplayExchange, open_market, running_exchange
from crypto_pipeline.replay.market.recorded_series import compute

START = datetime(2023, 5, 1, tzinfo=UTC)


def klines(exchange: ReplayExchange, symbol: str, interval: str, start: datetime, **query: Any) -> list[list[Any]]:
    asked = "".join(f"&{name}={value}" for name, value in query.items())
    url = f"{exchange.url}/api/v3/klines?symbol={symbol}&interval={interval}&startTime={unix_ms(start)}{asked}"
    with urllib.request.urlopen(url) as answer:
        return json.loads(answer.read())  # type: ignore[no-any-return]


def every_bar(exchange: ReplayExchange, symbol: str, interval: str) -> list[list[Any]]:
    found: list[list[Any]] = []
    start = datetime(2010, 1, 1, tzinfo=UTC)
    while page := klines(exchange, symbol, interval, start, limit=1000):
        found += page
        start = datetime.fromtimestamp(page[-1][0] / 1000, UTC) + timedelta(milliseconds=1)
    return found


@pytest.fixture(scope="module")
def binance(recorded_data: Path) -> Iterator[ReplayExchange]:
    with running_exchange(recorded_data / "bars" / "binance_spot", weight_limit=0) as exchange:
        yield exchange


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("symbol", "file", "timeframe"),
    [
        ("BTCUSDT", "BTC_USDT-1m-2021-04", "1m"),
        ("BTCUSDT", "BTC_USDT-5m-2021-04", "5m"),
        ("DOGEUSDT", "DOGE_USDT-1m-2021-04", "1m"),
        ("ALGOBTC", "ALGO_BTC-5m-2023-04", "5m"),
        ("XRPETH", "XRP_ETH-1m-2019-10", "1m"),
    ],
)
def test_real_bars_come_through_to_the_last_digit(
    recorded_data: Path, binance: ReplayExchange, symbol: str, file: str, timeframe: str
) -> None:
    served = every_bar(binance, symbol, timeframe)
    recorded = pl.read_parquet(recorded_data / "bars" / "binance_spot" / f"{file}.parquet").sort("ts_ms")
    rows = {row[0]: tuple(float(text) for text in row[1:6]) for row in served}
    columns = ("open", "high", "low", "close", "volume")
    expected = {row["ts_ms"]: tuple(row[name] for name in columns) for row in recorded.iter_rows(named=True)}
    first, last = min(expected), max(expected)
    assert {ms: row for ms, row in rows.items() if first <= ms <= last} == expected
    assert all(row[8] == 0 and float(row[7]) == 0 for row in served)  # counts were not recorded


@pytest.mark.realdata
def test_computed_timeframes_equal_the_venues_own(binance: ReplayExchange) -> None:
    market = binance.market
    minutes = market.bars("ADA-BTC", Timeframe.M1, datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))
    complete = minutes.group_by_dynamic("open_time", every="1h").agg(pl.len() == 60).filter("len")["open_time"]
    own = market.bars("ADA-BTC", Timeframe.H1, complete.min(), complete.max())  # type: ignore[arg-type]
    parts = minutes.select(
        pl.col("open_time").dt.epoch("ms").alias("open_ms"),
        *("open", "high", "low", "close", "volume", "quote_volume"),
        pl.col("taker_buy_volume").alias("taker_volume"),
        pl.lit(None, dtype=pl.Float64).alias("taker_quote"),
        pl.col("trade_count").alias("trades"),
    )
    computed = compute(parts, Timeframe.H1).with_columns(open_time=pl.col("open_ms").cast(pl.Datetime("ms", "UTC")))
    both = own.join(computed, on="open_time").filter(pl.col("open_time").is_in(complete.implode()))
    assert both.height > 100
    for name in ("open", "high", "low", "close", "volume"):
        assert both[name].to_list() == both[f"{name}_right"].to_list()


@pytest.mark.realdata
def test_real_holes_stay_holes_and_trades_are_served(binance: ReplayExchange) -> None:
    gap = datetime(2021, 4, 25, 4, 0, tzinfo=UTC)
    around = klines(binance, "BTCUSDT", "1m", gap, limit=2)
    assert [row[0] for row in around] == [unix_ms(gap), unix_ms(gap) + 285 * 60_000]
    with urllib.request.urlopen(f"{binance.url}/api/v3/aggTrades?symbol=XRPETH&fromId=13519807&limit=3") as answer:
        trades = json.loads(answer.read())
    assert [trade["a"] for trade in trades] == [13519807, 13519808, 13519809]
    assert trades[0]["p"] == "0.00141342"
    assert trades[0]["m"] is True


@pytest.mark.realdata
def test_real_bitfinex_columns(recorded_data: Path) -> None:
    market = open_market(recorded_data / "bars" / "bitfinex")
    start = datetime(2016, 1, 1, tzinfo=UTC)
    second = market.bars("BTC-USD", Timeframe.M1, start, start + timedelta(minutes=2)).row(1, named=True)
    assert [second[name] for name in ("open", "high", "low", "close")] == [429.17, 429.18, 429.17, 429.18]


@pytest.mark.realdata
def test_shifted_by_whole_weeks(recorded_data: Path) -> None:
    now = datetime(2026, 11, 21, 9, tzinfo=UTC)
    folder = recorded_data / "bars" / "kraken"
    plain, shifted = RecordedMarket(folder), RecordedMarket(folder, shift_to=now)
    assert shifted.shift_ms % (7 * 86_400_000) == 0
    last = shifted.seek("BTCUSDC", Timeframe.M1, 2**60, forward=False)
    assert last is not None
    assert timedelta() <= now - datetime.fromtimestamp(last / 1000 + 60, UTC) < timedelta(days=7)
    assert plain.seek("BTCUSDC", Timeframe.M1, 2**60, forward=False) == last - shifted.shift_ms


def test_several_venues_at_once_are_refused(tmp_path: Path) -> None:
    for venue in ("one", "two"):
        (tmp_path / venue).mkdir()
        (tmp_path / venue / "BTC_USD-1m-2020.csv").write_text("ts_ms,open,high,low,close,volume\n1,1,1,1,1,1\n")
    with pytest.raises(ReplayError, match="several venues"):
        open_market(tmp_path)
    with pytest.raises(ReplayError, match="is not a folder"):
        open_market(tmp_path / "three")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReplayError, match="no recorded files"):
        open_market(tmp_path / "empty")


HEADERS = {
    "ts_ms,open,high,low,close,volume": "{ms},1.5,2,1,1.75,10",
    "Open Time,Open,High,Low,Close,Volume,Quote Asset Volume,Number of Trades": "{us},1.5,2,1,1.75,10,16.5,4",
    "date,open,high,low,close,volume": "{iso},1.5,2,1,1.75,10",
    "time,low,high,open,close,volume": "{s},1,2,1.5,1.75,10",
    "": "{ms},1.5,2,1,1.75,10,{close},16.5,4,5,8,0",
}


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("packed", [False, True])
def test_csv_layouts(tmp_path: Path, header: str, packed: bool) -> None:
    ms = unix_ms(START)
    line = HEADERS[header].format(ms=ms, us=ms * 1000, iso=START.isoformat(), s=ms // 1000, close=ms + 59_999)
    text = (header + "\n" if header else "") + line + "\n"
    if packed:
        (tmp_path / "BTCUSDT-1m-2023-05.csv.gz").write_bytes(gzip.compress(text.encode()))
    else:
        (tmp_path / "BTCUSDT-1m-2023-05.csv").write_text(text)
    market = open_market(tmp_path)
    bar = market.bars("BTC-USDT", Timeframe.M1, START, START + timedelta(days=1)).row(0, named=True)
    assert bar["open_time"] == START
    assert [bar[name] for name in ("open", "high", "low", "close", "volume")] == [1.5, 2, 1, 1.75, 10]
    known = not header or "Quote" in header
    assert bar["trade_count"] == (4 if known else None)
    assert bar["quote_volume"] == (16.5 if known else None)


def test_files_are_merged_and_differences_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ms = unix_ms(START)
    lines = [f"{ms + minute * 60_000},1,2,1,{minute + 1}.5,0.1" for minute in range(10)]
    head = "ts_ms,open,high,low,close,volume"
    (tmp_path / "BTC_USDT-1m-a.csv").write_text("\n".join([head, *lines[:6]]))
    (tmp_path / "BTC_USDT-1m-b.csv").write_text("\n".join([head, *lines[4:]]))
    with caplog.at_level(logging.WARNING):
        market = open_market(tmp_path)
    assert not caplog.records
    bars = market.bars("BTC-USDT", Timeframe.M5, START, START + timedelta(minutes=10))
    assert bars["close"].to_list() == [5.5, 10.5]
    assert bars["volume"].to_list() == [0.5, 0.5]  # not 0.1 + 0.1 + … = 0.5000000000000001
    assert market.bars("BTC-USDT", Timeframe.M15, START, START + timedelta(minutes=15)).is_empty()  # only partly known
    (tmp_path / "BTC_USDT-1m-c.csv").write_text(f"{head}\n{ms},1,9,1,1.5,0.1\n")
    with caplog.at_level(logging.WARNING):
        open_market(tmp_path)
    assert "different values" in caplog.text


def test_trades_alone_make_minutes(tmp_path: Path) -> None:
    seconds = int(START.timestamp())
    (tmp_path / "BCHEUR-trades.csv").write_text(f"{seconds},90.5,1.1\n{seconds + 30},90.4,2.2\n{seconds + 90},90.6,1\n")
    market = open_market(tmp_path)
    bars = market.bars("BCH-EUR", Timeframe.M1, START, START + timedelta(minutes=5))
    assert bars["close"].to_list() == [90.4, 90.6]
    assert bars["volume"].to_list() == [3.3, 1.0]
    assert market.trades("BCH-EUR", START, START + timedelta(minutes=5))["trade_id"].to_list() == [1, 2, 3]


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "BTC_USDT-1m.parquet").write_bytes(b"no parquet")
    with pytest.raises(ReplayError, match=r"cannot read .*BTC_USDT-1m\.parquet"):
        open_market(tmp_path)
    (tmp_path / "BTC_USDT-1m.parquet").unlink()
    (tmp_path / "BTC_USDT-1m.csv").write_text("1,2,3\n")
    with pytest.raises(ReplayError, match="3 columns without a header"):
        open_market(tmp_path)
    (tmp_path / "BTC_USDT-1m.csv").write_text("ts_ms,open,high,low\n1,2,3,4\n")
    with pytest.raises(ReplayError, match="no column for close, volume"):
        open_market(tmp_path)
