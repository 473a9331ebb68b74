"""Each kind of fault over real sockets, and that it ends when it should."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.replay import ReplayError, ReplayExchange, load_faults, parse_faults
from crypto_pipeline_tests.builders.places import PROJECT
from crypto_pipeline_tests.replay.conftest import NOW

HOUR = NOW.replace(hour=5, minute=0, second=0)
SPAN = {"start": (HOUR + timedelta(minutes=10)).isoformat(), "end": (HOUR + timedelta(minutes=20)).isoformat()}
KLINES = {"symbol": "BTCUSDT", "interval": "1m", "startTime": unix_ms(HOUR), "endTime": unix_ms(HOUR) + 3_599_999}


class Client:
    def __init__(self, exchange: ReplayExchange, session: aiohttp.ClientSession) -> None:
        self.exchange, self.session = exchange, session

    async def get(self, path: str, **query: Any) -> tuple[int, bytes]:
        async with self.session.get(path, params=query) as answer:
            return answer.status, await answer.read()

    async def klines(self, **changes: Any) -> list[list[Any]]:
        status, body = await self.get("/api/v3/klines", **(KLINES | changes))
        assert status == 200, body
        return json.loads(body)  # type: ignore[no-any-return]

    async def struck(self) -> int:
        async with self.session.get("/_control/faults") as answer:
            return sum(fault["struck"] for fault in (await answer.json())["faults"])


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with ReplayExchange(now=NOW, speed=0, instruments=3, weight_limit=0) as exchange:
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(exchange.url, timeout=timeout) as session:
            yield Client(exchange, session)


def opens(rows: list[list[Any]]) -> list[int]:
    return [row[0] for row in rows]


async def test_a_missing_range_is_served_later(client: Client) -> None:
    whole = await client.klines()
    client.exchange.control({"kind": "missing_range", "symbol": "BTC-USDT", "count": 2, **SPAN})
    hidden = [ms for ms in opens(whole) if not unix_ms(HOUR) + 600_000 <= ms < unix_ms(HOUR) + 1_200_000]
    assert len(hidden) == 50
    assert opens(await client.klines()) == hidden
    assert len(await client.klines(symbol="ETHUSDT")) == 60
    assert len(await client.klines(startTime=unix_ms(HOUR) - 86_400_000, limit=5)) == 5  # not in its span: not struck
    assert opens(await client.klines()) == hidden
    assert await client.klines() == whole
    assert await client.struck() == 2


async def test_a_page_over_a_hidden_range_still_fills_its_limit(client: Client) -> None:
    client.exchange.control({"kind": "missing_range", "endpoint": "klines", **SPAN})
    rows = await client.klines(limit=15)
    assert opens(rows)[-5:] == [unix_ms(HOUR) + minute * 60_000 for minute in range(20, 25)]
    assert len(await client.klines(limit=60)) == 50


async def test_a_missing_range_hides_whole_windows_and_trades(client: Client) -> None:
    client.exchange.control({"kind": "missing_range", **SPAN})
    assert len(await client.klines(interval="5m")) == 10
    assert len(await client.klines(interval="15m")) == 4
    query = {"symbol": "BTCUSDT", "startTime": unix_ms(HOUR) + 540_000, "limit": 1000}
    trades = json.loads((await client.get("/api/v3/aggTrades", **query))[1])
    ids = [trade["a"] for trade in trades]
    assert any(after - before > 1 for before, after in pairwise(ids))
    assert not any(600_000 <= trade["T"] - unix_ms(HOUR) < 1_200_000 for trade in trades)


async def test_wrong_values_are_revised(client: Client) -> None:
    right = await client.klines()
    until = (NOW + timedelta(minutes=5)).isoformat()
    fault = {"kind": "wrong_values", "columns": "high", "factor": 1.5, "until": until, "symbol": "BTCUSDT", **SPAN}
    client.exchange.control(fault)
    fives = await client.klines(interval="5m")
    wrong = await client.klines()
    assert [row[0] for row, truth in zip(wrong, right, strict=True) if row != truth] == opens(right)[10:20]
    assert float(wrong[10][2]) == pytest.approx(1.5 * float(right[10][2]), rel=1e-9)
    truth = client.exchange.market.bars("BTC-USDT", Timeframe.M5, HOUR, HOUR + timedelta(hours=1))
    assert [float(row[2]) for row in fives] == truth["high"].to_list()
    client.exchange.clock.set(NOW + timedelta(minutes=6))
    assert await client.klines() == right


async def test_outages(client: Client) -> None:
    ids = client.exchange.control({"kind": "outage"})
    assert (await client.get("/api/v3/time"))[0] == 503
    assert (await client.get("/data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-11-20.zip"))[0] == 503
    client.exchange.clear_faults(ids[0])
    assert (await client.get("/api/v3/time"))[0] == 200
    client.exchange.control({"kind": "outage", "manner": "refuse", "count": 1})
    # A bare socket: an HTTP client would quietly try a second time.
    reader, writer = await asyncio.open_connection(client.exchange.host, client.exchange.port)
    writer.write(b"GET /api/v3/time HTTP/1.1\r\nHost: localhost\r\n\r\n")
    try:
        assert await reader.read() == b""
    except ConnectionResetError:
        pass
    writer.close()
    client.exchange.clear_faults()
    client.exchange.control({"kind": "outage", "manner": "hang", "count": 1})
    with pytest.raises(asyncio.TimeoutError):
        await client.session.get("/api/v3/time", timeout=aiohttp.ClientTimeout(total=0.3))
    assert (await client.get("/api/v3/time"))[0] == 200


async def test_short_pages(client: Client) -> None:
    client.exchange.control({"kind": "short_pages", "rows": 7, "endpoint": "klines", "count": 1})
    assert len(await client.klines()) == 7
    assert len(await client.klines()) == 60


async def test_rate_limits(client: Client) -> None:
    client.exchange.control({"kind": "rate_limit", "status": 418, "retry_after": 9, "count": 1})
    async with client.session.get("/api/v3/time") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (418, "9")
        assert (await answer.json())["code"] == -1003
    client.exchange.control({"kind": "rate_limit", "count": 1})
    assert (await client.get("/api/v3/time"))[0] == 429
    assert (await client.get("/api/v3/time"))[0] == 200


async def test_server_errors_by_chance_follow_the_seed() -> None:
    async def statuses(seed: int) -> list[int]:
        async with ReplayExchange(now=NOW, instruments=1, seed=seed, weight_limit=0) as exchange:
            exchange.control({"kind": "server_error", "status": 502, "probability": 0.4})
            async with aiohttp.ClientSession(exchange.url) as session:
                seen = []
                for _ in range(40):
                    async with session.get("/api/v3/ping") as answer:
                        seen.append(answer.status)
                return seen

    first = await statuses(1)
    assert first == await statuses(1)
    assert first != await statuses(2)
    assert 5 < first.count(502) < 30


async def test_slow_and_hanging_answers(client: Client) -> None:
    client.exchange.control({"kind": "slow", "seconds": 0.2, "count": 1})
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert (await client.get("/api/v3/ping"))[0] == 200
    assert loop.time() - started >= 0.2
    client.exchange.control({"kind": "hang", "count": 1, "endpoint": "klines"})
    with pytest.raises(asyncio.TimeoutError):
        await client.session.get("/api/v3/klines", params=KLINES, timeout=aiohttp.ClientTimeout(total=0.3))
    assert len(await client.klines()) == 60


async def test_truncated_and_malformed_bodies(client: Client) -> None:
    client.exchange.control({"kind": "truncated", "count": 1})
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.klines()
    client.exchange.control({"kind": "malformed", "count": 1}, {"kind": "malformed", "body": '{"a":1}', "count": 1})
    status, body = await client.get("/api/v3/klines", **KLINES)
    assert status == 200
    with pytest.raises(ValueError):
        json.loads(body)
    assert json.loads((await client.get("/api/v3/klines", **KLINES))[1]) == {"a": 1}
    assert len(await client.klines()) == 60


async def test_faults_on_demand_over_http(client: Client) -> None:
    script = {"faults": [{"kind": "server_error", "endpoint": "ping"}, {"kind": "slow", "after_seconds": 3600}]}
    async with client.session.post("/_control/faults", json=script) as answer:
        assert answer.status == 201
        added = (await answer.json())["added"]
    assert len(added) == 2
    assert (await client.get("/api/v3/ping"))[0] == 500
    async with client.session.get("/_control/faults") as answer:
        shown = (await answer.json())["faults"]
    assert [(fault["kind"], fault["active"], fault["struck"]) for fault in shown] == [
        ("server_error", True, 1),
        ("slow", False, 0),
    ]
    async with client.session.delete(f"/_control/faults/{added[0]}") as answer:
        assert await answer.json() == {"lifted": 1}
    assert (await client.get("/api/v3/ping"))[0] == 200
    async with client.session.delete(f"/_control/faults/{added[0]}") as answer:
        assert answer.status == 404
    async with client.session.delete("/_control/faults") as answer:
        assert await answer.json() == {"lifted": 1}
    for bad in ({"kind": "earthquake"}, {"kind": "slow", "second": 1}, 7, {"kind": "outage", "probability": 2}):
        async with client.session.post("/_control/faults", json=bad) as answer:
            assert answer.status == 400
            assert "faults: " in (await answer.json())["error"]
    async with client.session.post(
        "/_control/faults", data=b"{", headers={"Content-Type": "application/json"}
    ) as answer:
        assert "not JSON" in (await answer.json())["error"]


def test_the_example_script_is_valid_and_shows_every_kind() -> None:
    example = PROJECT / "docs" / "faults-example.json"
    kinds = {fault.kind for fault in load_faults(example)}
    assert len(kinds) == 11


def test_a_bad_script_names_file_place_and_value(tmp_path: Path) -> None:
    script = tmp_path / "faults.json"
    with pytest.raises(ReplayError, match=r"cannot read the fault script .*faults\.json"):
        load_faults(script)
    script.write_text("{")
    with pytest.raises(ReplayError, match="is not JSON"):
        load_faults(script)
    script.write_text('[{"kind": "rate_limit", "status": 430}]')
    with pytest.raises(ReplayError, match=r"faults\.json: 0\.rate_limit\.status: .*430"):
        load_faults(script)
    with pytest.raises(ReplayError, match="is not before"):
        parse_faults({"kind": "missing_range", "start": SPAN["end"], "end": SPAN["start"]})


async def test_only_json_with_the_token_and_from_no_other_page_controls_it() -> None:
    fault, path = {"kind": "hang"}, "/_control/faults"
    token = {"Authorization": "Bearer secret"}
    async with (
        ReplayExchange(now=NOW, speed=0, instruments=1, token="secret") as exchange,
        aiohttp.ClientSession(exchange.url) as session,
    ):

        async def post(**options: Any) -> int:
            async with session.post(path, **options) as answer:
                return answer.status

        plain = {"Content-Type": "text/plain"}
        assert await post(data=json.dumps(fault), headers=token | plain) == 415
        assert await post(json=fault) == 401
        assert await post(json=fault, headers={"Authorization": "Bearer wrong"}) == 401
        assert await post(json=fault, headers=token | {"Origin": "http://evil.example"}) == 403
        assert await post(json=fault, headers=token | {"Host": "evil.example"}) == 403
        async with session.delete(path) as answer:
            assert answer.status == 401
        async with session.post("/_control/clock", json={"speed": 2.0}) as answer:
            assert answer.status == 401
        async with session.get("/api/v3/time", headers={"Host": "evil.example"}) as answer:
            assert answer.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect("/ws/btcusdt@trade", origin="http://evil.example")
        assert exchange.server.faults.show() == []
        assert await post(json=fault, headers=token) == 201


async def test_two_missing_ranges_of_one_answer_both_act(client: Client) -> None:
    whole = opens(await client.klines())
    places = [(10, 12), (30, 33)]
    for first, last in places:
        span = {name: (HOUR + timedelta(minutes=at)).isoformat() for name, at in (("start", first), ("end", last))}
        client.exchange.control({"kind": "missing_range", "symbol": "BTC-USDT", **span})
    hidden = {whole[at] for first, last in places for at in range(first, last)}
    assert opens(await client.klines()) == [ms for ms in whole if ms not in hidden]
    assert await client.struck() == 2


async def test_bad_rows_say_what_they_are_told_to(client: Client) -> None:
    whole = await client.klines()
    client.exchange.control({"kind": "bad_rows", "endpoint": "klines", "values": {"volume": "1e308"}, **SPAN})
    spoiled = await client.klines()
    assert [row[5] for row in spoiled] == [row[5] if not 10 <= at < 20 else "1e308" for at, row in enumerate(whole)]
    asked = {"symbol": "BTCUSDT", "startTime": unix_ms(HOUR), "limit": 5}
    good = json.loads((await client.get("/api/v3/aggTrades", **asked))[1])
    client.exchange.control(
        {"kind": "bad_rows", "endpoint": "aggTrades", "values": {"p": "NaN"}, "absent": "q", "reverse_ids": True}
    )
    bad = json.loads((await client.get("/api/v3/aggTrades", **asked))[1])
    assert [row["a"] for row in bad] == [row["a"] for row in good][::-1]
    assert {row["p"] for row in bad} == {"NaN"}
    assert not any("q" in row for row in bad)
