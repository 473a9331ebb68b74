"""The client of FRED against the replayed one, over real sockets: limits, faults, refusals, and nothing of the key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.venues.client.http import RequestPolicy
from crypto_pipeline.venues.fred import parse
from crypto_pipeline.venues.fred.rest import FredClient, KeyRefused, NoVintages
from crypto_pipeline.venues.protocol import MalformedAnswer, UnknownSymbol, VenueError, VenueUnavailable
from crypto_pipeline_tests.builders.fred import NOW, fred_exchange, truth, without_pace

KEY = "k3y" + "0" * 29
HASTY = RequestPolicy(timeout=5, attempts=3, wait_initial=0.005, wait_max=0.02, wait_jitter=0.005)


@pytest.fixture(scope="module")
def exchange() -> Iterator[ReplayExchange]:
    with fred_exchange(fred_keys=[KEY]) as running:
        yield running


@pytest_asyncio.fixture
async def make(exchange: ReplayExchange, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., FredClient]]:
    without_pace(monkeypatch)
    exchange.clear_faults()
    made: list[FredClient] = []

    def build(key: str | None = KEY, url: str = exchange.url, **options: Any) -> FredClient:
        made.append(FredClient(url, url, key, policy=HASTY, **options))
        return made[-1]

    yield build
    for client in made:
        await client.close()


async def everything(client: FredClient, series_id: str) -> set[tuple[date, date, float | None]]:
    answer = await client.observations(series_id, await client.vintage_dates(series_id))
    assert not answer.refused
    return {(one.period, one.start, one.value) for one in answer.vintages}


async def test_a_series_and_its_release(make: Callable[..., FredClient]) -> None:
    client = make()
    facts = await client.series("CPIAUCSL")
    assert (facts.frequency, facts.seasonal_adjustment) == ("M", "SA")
    assert facts.last_updated == datetime(2026, 3, 16, 12, 30, tzinfo=UTC)
    release_id, name = await client.release("CPIAUCSL")
    assert (release_id, name) == (10, "Consumer Price Index")
    days = await client.release_dates(10, everything=True)
    assert days[-1] > date(2026, 6, 1)
    assert await client.release_dates(10, everything=False) == days


@pytest.mark.parametrize(("rows", "vintages"), [(100_000, 2_000), (37, 2_000), (100_000, 2), (500, 20)])
async def test_all_vintages_within_any_limits(
    make: Callable[..., FredClient], exchange: ReplayExchange, rows: int, vintages: int
) -> None:
    client = make(max_rows=rows, max_vintages=vintages)
    days = await client.vintage_dates("GDP")
    if vintages == 2 and rows == 100_000:
        days = days[-12:]
    answer = await client.observations("GDP", days)
    whole = truth(exchange, "GDP", NOW)
    late = {(period, start, value) for period, start, value in whole if start > days[0]}
    assert {(one.period, one.start, one.value) for one in answer.vintages if one.start > days[0]} == late
    assert all(one.end is None or one.end >= one.start for one in answer.vintages)
    if days[0] == min(start for _, start, _ in whole):
        assert {(one.period, one.start, one.value) for one in answer.vintages} == whole


async def test_without_a_key_the_newest_values_come_from_the_csv(
    make: Callable[..., FredClient], exchange: ReplayExchange
) -> None:
    client = make(key=None)
    rows, refused = await client.csv("UNRATE")
    series = exchange.fred.series("UNRATE")
    assert series is not None
    assert not refused
    assert dict(rows) == {period: None if value == "." else float(value) for period, value in series.known(NOW).items()}
    with pytest.raises(UnknownSymbol, match="FRED has no series 'NOPE': find its id"):
        await client.csv("NOPE")


@pytest.mark.parametrize(
    ("key", "why"),
    [("", "is not set"), ("short", "not a 32 character"), ("b" * 32, "is not registered")],
)
async def test_a_wrong_key_is_one_line_with_the_fix(make: Callable[..., FredClient], key: str, why: str) -> None:
    with pytest.raises(KeyRefused, match=why) as refused:
        await make(key=key).series("GDP")
    assert "set CRYPTO_PIPELINE_FRED_API_KEY" in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_an_unknown_series_is_one_line_with_the_fix(make: Callable[..., FredClient]) -> None:
    with pytest.raises(UnknownSymbol, match=r"FRED has no series 'CPII'.*CRYPTO_PIPELINE_MACRO_SERIES"):
        await make().series("CPII")


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "rate_limit", "retry_after": 0, "count": 2},
        {"kind": "server_error", "status": 503, "count": 2},
        {"kind": "truncated", "share": 0.5, "count": 2},
        {"kind": "malformed", "count": 2},
    ],
    ids=lambda fault: fault["kind"],
)
async def test_what_passes_is_asked_again(
    make: Callable[..., FredClient], exchange: ReplayExchange, fault: dict[str, Any]
) -> None:
    exchange.control(fault | {"endpoint": "fred"})
    assert await everything(make(), "FEDFUNDS") == truth(exchange, "FEDFUNDS", NOW)


async def test_nobody_learns_the_key_from_an_error(make: Callable[..., FredClient], exchange: ReplayExchange) -> None:
    exchange.control({"kind": "server_error", "status": 500, "endpoint": "fred"})
    with pytest.raises(VenueUnavailable) as failed:
        await make().series("GDP")
    assert KEY not in str(failed.value)
    assert "series_id=GDP" in str(failed.value)
    exchange.clear_faults()

    async def echo(request: web.Request) -> web.Response:
        if request.path.endswith("/release"):
            return web.Response(status=302, headers={"Location": f"http://elsewhere.example{request.path_qs}"})
        return web.Response(status=410, text=f"gone: {request.path_qs}")

    async with scripted(echo) as url:
        for work in (make(url=url).series("GDP"), make(url=url).release("GDP")):
            with pytest.raises(VenueError) as refused:
                await work
            assert KEY not in str(refused.value)
            assert KEY not in str(refused.value.__cause__ or "")


async def test_two_requests_a_second_are_never_exceeded() -> None:
    with running_exchange(instruments="BTC-USDT", now=NOW, speed=0) as exchange:
        client = FredClient(exchange.url, exchange.url, KEY, policy=HASTY)
        started = time.monotonic()
        await asyncio.gather(*(client.series("GDP") for _ in range(5)))
        assert time.monotonic() - started >= 4 * 0.5
        assert exchange.fred.refused == 0
        await client.close()


class scripted:  # noqa: N801  (reads as a function)
    """A server of one handler."""

    def __init__(self, handler: Callable[[web.Request], Any]) -> None:
        self._app = web.Application()
        self._app.router.add_get("/{path:.*}", handler)

    async def __aenter__(self) -> str:
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


async def test_a_series_without_vintages_says_so(make: Callable[..., FredClient]) -> None:
    text = "Bad Request.  The series does not exist in ALFRED but may exist in FRED."

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"error_code": 400, "error_message": text}, status=400)

    async with scripted(refuse) as url:
        with pytest.raises(NoVintages):
            await make(url=url).vintage_dates("LOCAL")


def body(*rows: Any, count: int | None = None) -> bytes:
    import json

    return json.dumps({"count": len(rows) if count is None else count, "observations": rows}).encode()


def row(period: str = "2026-01-01", value: Any = "1.5", start: str = "2026-02-01", end: str = "9999-12-31") -> Any:
    return {"realtime_start": start, "realtime_end": end, "date": period, "value": value}


@pytest.mark.parametrize(
    "bad",
    [
        row(value="NaN"), row(value="1e400"), row(value="1e30"), row(value="abc"), row(value=None), row(value=1.5),
        row(period="2026-13-01"), row(start="2026-03-01", end="2026-02-01"), {"date": "2026-01-01"}, [], 7, None,
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_row_costs_only_itself(bad: Any) -> None:
    page = parse.parse_observations(body(row(), bad, row("2026-02-01", ".")), parse.OPEN_END)
    assert [(one.period.month, one.value) for one in page.vintages] == [(1, 1.5), (2, None)]
    assert len(page.refused) == 1
    assert page.rows == page.count == 3


@pytest.mark.parametrize("bad", [b"", b"[]", b"{}", b"null", b'{"count":1}', body(7), b"<html>", body(row())[:-9]])
def test_a_body_that_is_none_is_malformed(bad: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        parse.parse_observations(bad, parse.OPEN_END)


async def test_pages_that_do_not_agree_with_their_count_are_malformed(make: Callable[..., FredClient]) -> None:
    async def short(_: web.Request) -> web.Response:
        return web.Response(body=body(row(), count=3), content_type="application/json")

    async def none(_: web.Request) -> web.Response:
        return web.Response(body=body(), content_type="application/json")

    async def many(_: web.Request) -> web.Response:
        return web.Response(body=body(row(), row("2026-02-01"), count=1), content_type="application/json")

    for handler in (none, many, short):  # the last one has the same row on every page
        async with scripted(handler) as url:
            with pytest.raises(MalformedAnswer, match=r"observations are stated and"):
                await make(url=url).observations("GDP", [date(2026, 2, 1)])


def test_a_period_that_contradicts_itself_costs_only_itself() -> None:
    page = parse.parse_observations(
        body(row(), row(value="2.5", start="2026-02-03"), row("2026-02-01")), parse.OPEN_END
    )
    good, refused = parse.without_contradictions(page.vintages)
    assert [one.period.month for one in good] == [2]
    assert "two values on 2026-02-03" in refused[0].reason


@pytest.mark.parametrize("header", ["DATE,GDP", "observation_date,GDP", "﻿observation_date,gdp"])
def test_csv_of_both_kinds_is_read(header: str) -> None:
    rows, refused = parse.parse_csv(f"{header}\n2026-01-01,1.5\n2026-04-01,.\n2026-07-01,\nx,1\n".encode(), "GDP")
    assert rows == [(date(2026, 1, 1), 1.5), (date(2026, 4, 1), None), (date(2026, 7, 1), None)]
    assert len(refused) == 1
    twice, refused = parse.parse_csv(b"DATE,GDP\n2026-01-01,1\n2026-01-01,2\n2026-04-01,3\n", "GDP")
    assert twice == [(date(2026, 4, 1), 3.0)]
    assert "2026-01-01 is there twice" in refused[0].reason
    for bad in (b"", b"<html>", b"DATE,CPI\n2026-01-01,1\n", b"DATE,GDP\nx,y\n"):
        with pytest.raises(MalformedAnswer):
            parse.parse_csv(bad, "GDP")
