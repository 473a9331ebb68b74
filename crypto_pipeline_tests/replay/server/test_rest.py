"""The REST endpoints over real sockets: ranges, limits, errors, weights."""

from __future__ import annotations

import http.client
import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.replay import ReplayError, ReplayExchange, running_exchange
from crypto_pipeline_tests.replay.conftest import NOW

NOW_MS = unix_ms(NOW)


def get(exchange: ReplayExchange, path: str, **query: Any) -> tuple[int, Any, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(exchange.host, exchange.port, timeout=20)
    try:
        connection.request("GET", f"{path}?{urlencode(query)}" if query else path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers
    finally:
        connection.close()


def rows(exchange: ReplayExchange, **query: Any) -> list[list[Any]]:
    status, body, _ = get(exchange, "/api/v3/klines", **query)
    assert status == 200, body
    return body  # type: ignore[no-any-return]


def test_a_row_is_binances_row(frozen: ReplayExchange) -> None:
    start = NOW - timedelta(days=1)
    truth = frozen.market.bars("SOL-USDT", Timeframe.M15, start, start + timedelta(hours=1)).row(0, named=True)
    row = rows(frozen, symbol="SOLUSDT", interval="15m", startTime=unix_ms(start), limit=1)[0]
    assert len(row) == 12
    assert row[0] == unix_ms(truth["open_time"])
    assert row[6] == row[0] + 15 * 60_000 - 1
    names = ("open", "high", "low", "close", "volume")
    assert [float(text) for text in row[1:6]] == [truth[name] for name in names]
    assert all(len(text.partition(".")[2]) == 8 for text in row[1:6])
    assert (float(row[7]), row[8], float(row[9])) == (
        truth["quote_volume"],
        truth["trade_count"],
        truth["taker_buy_volume"],
    )
    assert row[11] == "0"


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_the_forming_bar_is_last(frozen: ReplayExchange, timeframe: Timeframe) -> None:
    newest = rows(frozen, symbol="BTCUSDT", interval=str(timeframe), limit=3)
    assert len(newest) == 3
    assert newest[-1][0] == unix_ms(timeframe.floor(NOW))
    assert newest[-1][0] - newest[-2][0] == timeframe.milliseconds
    seen = frozen.market.trades("BTC-USDT", timeframe.floor(NOW), NOW + timedelta(milliseconds=1))
    assert newest[-1][8] == (seen["last_id"] - seen["first_id"] + 1).sum()


def test_the_first_bar_ever_is_the_listing(frozen: ReplayExchange) -> None:
    first = rows(frozen, symbol="HIPPOUSDT", interval="1m", startTime=0, limit=1)[0]
    assert first[8] > 0
    assert first[0] >= 1795000000000 - 86_400_000 * 2
    assert rows(frozen, symbol="HIPPOUSDT", interval="1m", startTime=0, endTime=first[0] - 1) == []
    assert rows(frozen, symbol="HIPPOUSDT", interval="1m", endTime=first[0] - 1) == []


@pytest.fixture(scope="module")
def all_bars(frozen: ReplayExchange) -> dict[tuple[str, str], list[int]]:
    """Open times of everything the venue shows at NOW in the days that the range test asks about."""
    shown = {}
    for symbol in ("BTCUSDT", "BRETTUSDT", "HIPPOUSDT", "TREMPUSDT"):
        for timeframe in (Timeframe.M1, Timeframe.H1, Timeframe.W1):
            start = timeframe.floor(NOW - timedelta(days=9))
            bars = frozen.market.bars(symbol, timeframe, start, NOW)["open_time"].to_list()
            shown[symbol, str(timeframe)] = [unix_ms(moment) for moment in bars]
    return shown


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_ranges(frozen: ReplayExchange, all_bars: dict[tuple[str, str], list[int]], data: st.DataObject) -> None:
    (symbol, interval), opens = data.draw(st.sampled_from(sorted(all_bars.items())))
    near = st.sampled_from(opens).flatmap(lambda ms: st.sampled_from([ms - 1, ms, ms + 1]))
    moment = st.one_of(near, st.integers(opens[0], NOW_MS + 100_000))
    start, end = data.draw(st.none() | moment), data.draw(st.none() | moment)
    # Without a start weekly bars would reach back for years of tape: right, but slow to make.
    limit = data.draw(st.integers(1, 5) if interval == "1w" else st.none() | st.integers(1, 1200))
    query = {"startTime": start, "endTime": end, "limit": limit}
    query = {name: value for name, value in query.items() if value is not None}
    inside = [ms for ms in opens if (start is None or ms >= start) and (end is None or ms <= end)]
    most = min(limit or 500, 1000)
    expected = inside[:most] if start is not None else inside[-most:]
    got = [row[0] for row in rows(frozen, symbol=symbol, interval=interval, **query)]
    if start is None:  # older bars than the reference holds may come first
        got = [ms for ms in got if ms >= opens[0]]
    assert got == expected


def test_microseconds_are_taken_by_their_size(frozen: ReplayExchange) -> None:
    start = NOW_MS - 3_600_000
    plain = rows(frozen, symbol="BTCUSDT", interval="1m", startTime=start, endTime=start + 600_000)
    micro = rows(
        frozen, symbol="BTCUSDT", interval="1m", startTime=start * 1000 - 999, endTime=(start + 600_000) * 1000 + 999
    )
    assert plain == micro
    assert len(plain) == 10


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("klines", {"interval": "1m"}, -1102),
        ("klines", {"symbol": "BTCUSDT"}, -1102),
        ("klines", {"symbol": "btcusdt", "interval": "1m"}, -1100),
        ("klines", {"symbol": "NOSUCHPAIR", "interval": "1m"}, -1121),
        ("klines", {"symbol": "BTCUSDT", "interval": "2m"}, -1120),
        ("klines", {"symbol": "BTCUSDT", "interval": "1M"}, -1120),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": "0"}, -1130),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "startTime": "-5"}, -1100),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "endTime": "soon"}, -1100),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": "1", "startTime": "1"}, -1128),
        ("exchangeInfo", {"symbol": "NOSUCHPAIR"}, -1121),
        ("exchangeInfo", {"symbols": '["BTCUSDT","NOSUCHPAIR"]'}, -1121),
        ("exchangeInfo", {"symbols": "BTCUSDT"}, -1100),
        ("exchangeInfo", {"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'}, -1128),
    ],
)
def test_errors(frozen: ReplayExchange, path: str, query: dict[str, str], code: int) -> None:
    status, body, headers = get(frozen, f"/api/v3/{path}", **query)
    assert (status, body["code"]) == (400, code)
    assert body["msg"]
    assert int(headers["X-MBX-USED-WEIGHT-1M"]) > 0


def test_a_start_after_the_end_is_an_empty_answer(frozen: ReplayExchange) -> None:
    assert rows(frozen, symbol="BTCUSDT", interval="1m", startTime=NOW_MS - 1000, endTime=NOW_MS - 900_000) == []


def test_exchange_info(frozen: ReplayExchange) -> None:
    _, body, _ = get(frozen, "/api/v3/exchangeInfo")
    by_name = {symbol["symbol"]: symbol for symbol in body["symbols"]}
    assert body["serverTime"] == NOW_MS == get(frozen, "/api/v3/time")[1]["serverTime"]
    assert by_name["BTCUSDT"]["status"] == "TRADING"
    assert by_name["TREMPUSDT"]["status"] == "BREAK"
    filters = {one["filterType"]: one for one in by_name["BTCUSDT"]["filters"]}
    assert float(filters["PRICE_FILTER"]["tickSize"]) == 0.01
    _, body, _ = get(frozen, "/api/v3/exchangeInfo", symbols='["BTCUSDT","ETHUSDT"]')
    assert [symbol["symbol"] for symbol in body["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert get(frozen, "/api/v3/ping")[1] == {}


def test_a_symbol_before_its_listing_is_unknown() -> None:
    with running_exchange(now=NOW - timedelta(days=30), speed=0) as exchange:
        assert get(exchange, "/api/v3/klines", symbol="HIPPOUSDT", interval="1m")[1]["code"] == -1121
        names = [symbol["symbol"] for symbol in get(exchange, "/api/v3/exchangeInfo")[1]["symbols"]]
        assert "BTCUSDT" in names
        assert "HIPPOUSDT" not in names


def test_trades_paged_by_id_are_the_tape(frozen: ReplayExchange) -> None:
    start = NOW.replace(hour=0, minute=0, second=0) - timedelta(minutes=30)
    truth = frozen.market.trades("XRP-USDT", start, start + timedelta(hours=1))
    page = get(frozen, "/api/v3/aggTrades", symbol="XRPUSDT", startTime=unix_ms(start), limit=100)[1]
    seen = page
    while page and len(seen) < len(truth):
        page = get(frozen, "/api/v3/aggTrades", symbol="XRPUSDT", fromId=page[-1]["a"] + 1, limit=100)[1]
        seen = seen + page
    seen = seen[: len(truth)]
    assert [trade["a"] for trade in seen] == truth["trade_id"].to_list()
    assert [trade["T"] for trade in seen] == truth["time"].dt.epoch("ms").to_list()
    assert [float(trade["p"]) for trade in seen] == truth["price"].to_list()
    assert ["sell" if trade["m"] else "buy" for trade in seen] == truth["taker_side"].to_list()
    newest = get(frozen, "/api/v3/aggTrades", symbol="XRPUSDT", limit=5)[1]
    assert len(newest) == 5
    assert newest[-1]["T"] <= NOW_MS
    until = frozen.market.trades("XRP-USDT", NOW - timedelta(hours=1), NOW + timedelta(milliseconds=1))
    assert newest[-1]["a"] == until["trade_id"][-1]
    assert get(frozen, "/api/v3/aggTrades", symbol="XRPUSDT", fromId=newest[-1]["a"] + 1)[1] == []
    span = {"startTime": unix_ms(start), "endTime": unix_ms(start) + 59_999}
    inside = get(frozen, "/api/v3/aggTrades", symbol="XRPUSDT", limit=1000, **span)[1]
    minute = frozen.market.trades("XRP-USDT", start, start + timedelta(minutes=1))
    assert [trade["a"] for trade in inside] == minute["trade_id"].to_list()


def test_weights_then_429_then_a_ban() -> None:
    with running_exchange(now=NOW, speed=0, weight_limit=10, ban_after=3) as exchange:
        used = []
        for _ in range(5):
            status, _, headers = get(exchange, "/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=1)
            assert status == 200
            used.append(int(headers["X-MBX-USED-WEIGHT-1M"]))
        assert used == [2, 4, 6, 8, 10]
        for _ in range(3):
            status, body, headers = get(exchange, "/api/v3/time")
            assert (status, body["code"]) == (429, -1003)
            assert int(headers["Retry-After"]) >= 1
        status, body, headers = get(exchange, "/api/v3/time")
        assert (status, body["code"]) == (418, -1003)
        assert f"banned until {NOW_MS + 120_000}" in body["msg"]
        exchange.clock.set(NOW + timedelta(seconds=60))
        assert get(exchange, "/api/v3/time")[0] == 418
        exchange.clock.set(NOW + timedelta(seconds=121))
        assert get(exchange, "/api/v3/time")[0] == 200
        stated = get(exchange, "/api/v3/exchangeInfo")[1]
        assert stated["code"] == -1003  # 20 is more than the 10 there are


def test_retry_after_is_in_the_clients_seconds() -> None:
    with running_exchange(now=NOW, speed=10, weight_limit=1) as exchange:
        get(exchange, "/api/v3/time")
        status, _, headers = get(exchange, "/api/v3/time")
        assert status == 429
        assert int(headers["Retry-After"]) <= 3


async def test_used_inside_a_running_loop() -> None:
    async with ReplayExchange(now=NOW, instruments=2) as exchange, aiohttp.ClientSession(exchange.url) as session:
        async with session.get("/api/v3/exchangeInfo") as answer:
            assert len((await answer.json())["symbols"]) == 2
        async with session.post("/_control/clock", json={"now": "2026-11-22T00:00Z", "speed": 0}) as answer:
            assert answer.status == 200
        async with session.get("/api/v3/time") as answer:
            assert (await answer.json())["serverTime"] == 1795305600000
        async with session.post("/_control/clock", json={"now": "2026-11-22T00:00"}) as answer:
            assert answer.status == 400
            assert "naive time" in (await answer.json())["error"]


async def test_a_port_in_use_is_named() -> None:
    async with ReplayExchange(now=NOW) as exchange:
        with pytest.raises(ReplayError, match=f"port {exchange.port} on 127.0.0.1 is in use"):
            async with ReplayExchange(now=NOW, port=exchange.port):
                pass
