"""Raw sessions played back: the very frames, in order, with their timing or at once."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import aiohttp
import pytest

from crypto_pipeline.replay import ReplayError, ReplayExchange
from crypto_pipeline.replay.server.playback import recorded_frames
from crypto_pipeline_tests.builders.stream_client import exchange_at, listen

SESSION = """wss://somewhere <-> 1618677816.84
wss://somewhere <- 1618677817.02: {"type":"subscribe"}
1618677817.1: {"type":"match","trade_id":1}
1618677817.2: [1665,[["1.0","2"]],"trade","SC/EUR"]
https://somewhere/products -> 1618677817.25: [{"id":"SKL-EUR"}]
configuration: {"trades":["SKL-EUR"]}
1618677817.5: {"type":"match","trade_id":2}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "somewhere").mkdir()
    with gzip.open(tmp_path / "somewhere" / "session.gz", "wt") as file:
        file.write(SESSION)
    return tmp_path


async def played(exchange: ReplayExchange, path: str) -> list[str]:
    async with listen(exchange, path) as listener:
        messages = [message.data async for message in listener.socket]
        assert listener.socket.close_code == 1000
        return messages


async def test_only_what_was_received_is_played_with_its_timing(folder: Path) -> None:
    async with exchange_at(captures=folder) as exchange:
        loop = asyncio.get_running_loop()
        started = loop.time()
        messages = await played(exchange, "/playback/somewhere/session?speed=2")
        assert loop.time() - started >= 0.2
        lines = SESSION.splitlines()
        assert messages == [lines[2][14:], lines[3][14:], lines[6][14:]]
        assert await played(exchange, "/playback/somewhere/session.gz?speed=0") == messages
        async with aiohttp.ClientSession(exchange.url) as session:
            async with session.get("/playback") as answer:
                assert await answer.json() == {"sessions": ["somewhere/session"]}
            for path in ("/playback/somewhere/none", "/playback/..%2F/session"):
                async with session.get(path) as answer:
                    assert answer.status == 404
            async with session.get("/playback/somewhere/session?speed=fast") as answer:
                assert answer.status == 400


async def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="no folder of recorded sessions at"):
        ReplayExchange(captures=tmp_path / "nowhere")
    async with (
        exchange_at() as exchange,
        aiohttp.ClientSession(exchange.url) as session,
        session.get("/playback/a/b") as answer,
    ):
        assert answer.status == 404


@pytest.mark.realdata
async def test_a_recorded_session_frame_by_frame(recorded_data: Path) -> None:
    captures = recorded_data / "captures"
    async with exchange_at(captures=captures) as exchange:
        for name in ("coinbase/COINBASE.ws.28.0", "kraken/KRAKEN.ws.50.0", "binance/BINANCE.ws.1.0"):
            expected = [message.decode() for _, message in recorded_frames(captures / f"{name}.gz")]
            with gzip.open(captures / f"{name}.gz", "rt") as file:
                assert len(expected) == sum(line[:10].isdigit() for line in file)
            assert await played(exchange, f"/playback/{name}?speed=0") == expected
        messages = await played(exchange, "/playback/binance_spot/btcusdt_20240809?speed=0")
    ids = [json.loads(message)["data"]["t"] for message in messages if '"e":"trade"' in message]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert len(ids) > 1000
