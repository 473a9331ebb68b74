"""A venue that sends whatever it likes: bodies without end, bombs, redirects, huge frames. Memory and pauses hold."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import itertools
import json
import os
import sys
import time
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from crypto_pipeline.ingest.session import Session
from crypto_pipeline.venues import BinanceSpot, VenueError
from crypto_pipeline.venues.binance.stream import BinanceStream
from crypto_pipeline_tests.builders.scripted_binance import MODIFIED, ScriptedVenue, status
from crypto_pipeline_tests.builders.stream_server import Line, serving

#: How often every hostile body is met; more than once, the bomb has its full size.
ROUNDS = int(os.environ.get("CRYPTO_PIPELINE_TEST_HOSTILE_ROUNDS", "1"))
KLINES, TIME = "/api/v3/klines", "/api/v3/time"
Make = Callable[..., BinanceSpot]
CLIENT = """
import asyncio, json, sys
from datetime import UTC, datetime, timedelta
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import BinanceSpot, FetchPlan, RequestPolicy

async def main(url):
    policy = RequestPolicy(timeout=5, attempts=2, wait_initial=0.01, wait_max=0.02, wait_jitter=0.01)
    venue = BinanceSpot(url, url, archive_min_days=1, policy=policy)
    said = []
    day = datetime(2026, 2, 1, tzinfo=UTC)
    for symbol in ("ENDLESS", "BOMB", "TEXT", "AWAY", "ZIP", "SHORT", "MANY") * int(sys.argv[2]):
        days = 2 if symbol in ("ZIP", "SHORT", "MANY") else 0.5
        plan = FetchPlan(symbol, symbol, Timeframe.M1, [(day, day + timedelta(days=days))])
        async for answer in venue.bars_many([plan], on_error=lambda plan, error: said.append(f"{symbol}: {error}")):
            said.append(f"{symbol}: {answer.bars.height} bars")
    await venue.close()
    # not ru_maxrss, which begins with what the process had that this one was forked from
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(json.dumps({"said": said, "mib": peak / 1024}))

asyncio.run(main(sys.argv[1]))
"""


def bomb() -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9) as file:
        for _ in range(256 if ROUNDS == 1 else 1536):
            file.write(b"[" + b" " * (1 << 20))
    return packed.getvalue()


def big_zip(line: bytes, members: int = 1, mebibytes: int = 250) -> bytes:
    packed, piece = io.BytesIO(), (line * ((1 << 20) // len(line) + 1))[: 1 << 20]
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
        for number in range(members):
            with zipped.open(f"{number}.csv", "w") as file:
                for _ in range(mebibytes // members):
                    file.write(piece)
    return packed.getvalue()


async def test_every_hostile_body_stays_within_its_bound(server: ScriptedVenue) -> None:
    gzipped = bomb()
    files = {
        "ZIP": big_zip(b"1769904000000,1,2,0.5,1.5,10,1769904059999,15,4,1,1,0\n"),
        "SHORT": big_zip(b"1\n", mebibytes=64),
        "MANY": big_zip(b"1\n", members=50, mebibytes=50),
    }

    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}

    async def klines(request: web.Request) -> web.StreamResponse:
        match request.query["symbol"]:
            case "ENDLESS":
                response = web.StreamResponse()
                await response.prepare(request)
                while True:
                    await response.write(b"[1," * 20_000)
            case "BOMB":
                response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
                await response.prepare(request)  # its length is not said beforehand
                await response.write(gzipped)
                return response
            case "TEXT":
                return web.Response(status=400, text=json.dumps({"code": -1100, "msg": "x" * 8_000_000}))
            case "AWAY":
                return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data"})
        return web.Response(text="[]")

    async def file(request: web.Request) -> web.StreamResponse:
        name = next(name for name in files if name in request.path)
        if request.path.endswith(".CHECKSUM"):
            return web.Response(text=hashes[name])
        return web.Response(body=files[name], headers={"Last-Modified": MODIFIED})

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/data/"):
            return await file(request)
        return await klines(request) if request.path == KLINES else server.true_answer(request)

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        client = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CLIENT,
            url,
            str(ROUNDS),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, errors = await client.communicate()
    finally:
        await runner.cleanup()
    assert client.returncode == 0, errors.decode()[-2000:]
    told = json.loads(out)
    print(f"{ROUNDS} rounds, bomb of {len(gzipped) / 1e6:.1f} MB on the wire: peak {told['mib']:.0f} MiB")
    said = "\n".join(told["said"])
    assert told["mib"] <= 400, told["mib"]
    assert "ENDLESS: binance /api/v3/klines: its body has more than" in said
    assert "BOMB: binance /api/v3/klines: its body has more than" in said
    assert "HTTP 400" in next(text for text in told["said"] if text.startswith("TEXT"))
    assert max(map(len, told["said"])) < 1_200
    assert "AWAY: binance redirects to 'http://169.254.169.254/latest/meta-data', another host than" in said
    assert "it unpacks to more than" in errors.decode()
    assert "it contains 50 files" in errors.decode()


async def test_redirects_within_the_host_are_followed_and_refusals_cut(server: ScriptedVenue, make: Make) -> None:
    server.script(TIME, status(302, Location="/api/v3/time"))
    venue = make()
    await venue.server_time()
    server.script(TIME, *(status(302, Location=f"{server.url}/api/v3/time") for _ in range(20)))
    with pytest.raises(VenueError, match="redirected more than 5 times"):
        await venue.server_time()


async def test_a_stream_of_frames_that_are_too_large_is_opened_again_with_growing_pauses() -> None:
    opened: list[float] = []

    async def play(line: Line) -> None:
        opened.append(time.monotonic())
        await line.socket.send_bytes(bytes(8 << 20))

    async with serving(play) as venue:
        stream = BinanceStream(venue.url)
        ups: list[Any] = []
        session = Session(stream, lambda _: None, ups.append, lambda *_: None)
        session.start([("BTC-USDT", "BTCUSDT")])
        while len(opened) < 4:
            await asyncio.sleep(0.02)
            assert not session.up or 0 not in session.troubles or session.troubles[0].times < 3
        pauses = [later - earlier for earlier, later in itertools.pairwise(opened)]
        # 0.4, 0.8 and 1.6 seconds, each half as long to half as long again
        assert all(pause >= least for pause, least in zip(pauses, (0.2, 0.4, 0.8), strict=True)), pauses
        while session.troubles[0].times < 4:
            await asyncio.sleep(0.02)
        assert not session.up
        assert "exceeds limit" in session.troubles[0].reason
        assert session.troubles[0].instruments == ("BTC-USDT",)
        await session.close()
        await stream.close()
