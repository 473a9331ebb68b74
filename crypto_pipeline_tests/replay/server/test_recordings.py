"""Recorded stocks and macro series that the exchange serves as a program: what clients read equals the files."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.cli.commands.deployment import macro_given, stocks_given
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.supervision.start.initial_instruments import chosen_instruments
from crypto_pipeline.ops.supervision.start.recordings import check_recordings
from crypto_pipeline.replay import ReplayError, ReplayExchange
from crypto_pipeline.replay.massive.recorded import RecordedStocks
from crypto_pipeline.settings import Settings
from crypto_pipeline.venues import FetchPlan
from crypto_pipeline_tests.builders import lean
from crypto_pipeline_tests.builders.massive_server import client

M1, D1 = Timeframe.M1, Timeframe.D1
DAYS = {
    "SPY": [date(2013, 10, day) for day in (7, 8, 9, 10, 11)],
    "IBM": [date(2013, 10, day) for day in (7, 8)],
    "AAPL": [date(2014, 6, day) for day in (5, 6, 9)],
}
VALUES = ["open_time", "open", "high", "low", "close", "volume"]


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[str]:
    """`crypto-pipeline replay serve` with these arguments; gives its address."""
    command = [sys.executable, "-m", "crypto_pipeline.cli", "replay", "serve", "--port", "0", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CRYPTO_PIPELINE_")}
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True, "env": clean}
    with subprocess.Popen([*command, "--data-dir", str(folder)], **options) as program:
        assert program.stdout is not None
        match = re.search(r"http://127\.0\.0\.1:\d+", program.stdout.readline())
        assert match
        try:
            yield match[0]
        finally:
            program.terminate()


async def read(url: str, symbol: str, timeframe: Timeframe, start: datetime, end: datetime) -> pl.DataFrame:
    venue = client(url)
    plan = FetchPlan(symbol, symbol, timeframe, [(start, end)])
    async with aclosing(venue.bars(plan)) as answers:
        bars = [answer.bars async for answer in answers]
    await venue.close()
    return pl.concat(bars)


async def test_the_program_serves_the_bars_and_macro_series_of_the_files(tmp_path: Path, recorded_data: Path) -> None:
    now = datetime(2014, 6, 11, tzinfo=UTC)
    folders = ["--stocks", str(recorded_data), "--macro", str(recorded_data)]
    with serving(tmp_path, *folders, "--now", f"{now:%Y-%m-%dT%H:%MZ}") as url:
        for symbol, days in DAYS.items():
            begin, end = (datetime.combine(day, datetime.min.time(), UTC) for day in (days[0], days[-1]))
            minutes = await read(url, symbol, M1, begin, end + timedelta(days=2))
            files = pl.concat([lean.minute_bars(recorded_data, symbol.lower(), day) for day in days])
            assert_frame_equal(minutes.select(VALUES), files.select(VALUES))
            session = await read(url, symbol, D1, begin, end + timedelta(days=1))
            assert session.height == len(days), "also of IBM, of which no days are recorded"
        apple = await read(url, "AAPL", D1, datetime(2014, 1, 1, tzinfo=UTC), now - timedelta(days=1))
        known = lean.daily_bars(recorded_data, "aapl").filter(pl.col("open_time").dt.year() == 2014)
        files = known.filter(pl.col("open_time") < now - timedelta(days=1))
        assert_frame_equal(apple.select(VALUES), files.select(VALUES))
        query = {"series_id": "UNRATE", "api_key": "a" * 32, "file_type": "json"}
        stated = httpx.get(f"{url}/fred/series/observations", params=query).raise_for_status().json()["observations"]
        with (recorded_data / "macro/fred/UNRATE.csv").open() as file:
            rows = {period: float(value) for period, value in list(csv.reader(file))[1:] if value}
        known = {row["date"]: float(row["value"]) for row in stated if row["value"] != "."}
        assert known == {period: value for period, value in rows.items() if period <= "2014-05-01"}


async def test_streams_have_the_recorded_seconds_and_trades(recorded_data: Path) -> None:
    """The first minutes of a session, at sixty times their speed."""
    now, day = datetime(2013, 10, 7, 13, 35, tzinfo=UTC), date(2013, 10, 7)
    stated: dict[str, list[dict[str, Any]]] = {"A": [], "T": []}
    exchange = ReplayExchange(instruments=1, stocks=recorded_data, now=now, speed=60)
    async with exchange, aiohttp.ClientSession() as session, session.ws_connect(f"{exchange.ws_url}/stocks") as socket:
        await socket.send_json({"action": "auth", "params": "any"})
        await socket.send_json({"action": "subscribe", "params": "A.SPY,T.IBM"})
        while min(map(len, stated.values())) < 20:
            for event in json.loads((await socket.receive(20)).data):
                stated.get(event["ev"], []).append(event)
    seconds = {row["open_time"]: row for row in lean.minute_bars(recorded_data, "spy", day, "second").to_dicts()}
    for one in stated["A"]:
        row = seconds[datetime.fromtimestamp(one["s"] / 1000, UTC)]
        assert [one[name] for name in "ohlcv"] == [row[name] for name in VALUES[1:]]
    trades = RecordedStocks(recorded_data).trades("IBM", day, day)
    ticks = set(trades.select(pl.col("ns") // 1_000_000, "price", "size").rows())
    assert {(one["t"], one["p"], one["s"]) for one in stated["T"]} <= ticks


def test_a_folder_without_recordings_is_named_with_the_fix(tmp_path: Path, recorded_data: Path) -> None:
    with pytest.raises(ReplayError, match=rf"no recorded stocks in {tmp_path}: name a folder of LEAN's data"):
        ReplayExchange(stocks=tmp_path)
    (tmp_path / "daily").mkdir()
    with pytest.raises(ReplayError, match=rf"no recorded stocks in {tmp_path}: its folders daily and minute have no"):
        chosen_instruments(deployed(replay_stocks=tmp_path))
    (tmp_path / "manifest.csv").write_text("path,rows\n")
    with pytest.raises(ReplayError, match=rf"no recorded macro series in {tmp_path}: name a folder with CSV files"):
        check_recordings(deployed(replay_macro=tmp_path))
    check_recordings(deployed(replay_macro=recorded_data))
    shifted = {"replay_source": str(tmp_path), "replay_shift_to_now": True, "replay_stocks": recorded_data}
    with pytest.raises(OpsError, match="recorded stocks keep their dates"):
        chosen_instruments(deployed(**shifted))


def deployed(**given: Any) -> Settings:
    """What `up --with-stocks --with-macro` makes of these settings."""
    plain = Settings(**{"replay_source": "generated"} | given)
    return plain.model_copy(update=stocks_given(plain) | macro_given(plain))


def test_a_deployment_collects_the_stocks_that_are_recorded(recorded_data: Path) -> None:
    chosen = [one for one in chosen_instruments(deployed(replay_stocks=recorded_data)) if one.venue == "massive"]
    assert [one.symbol for one in chosen] == ["AAPL", "IBM", "SPY"]
    assert {one.calendar for one in chosen} == {"XNYS"}
    named = chosen_instruments(deployed(replay_stocks=recorded_data, instruments="ibm,SPY"))
    assert [one.symbol for one in named] == ["IBM", "SPY"]
    alone = {"venue": "massive", "massive_source": "replay", "replay_stocks": recorded_data}
    assert [one.symbol for one in chosen_instruments(Settings(**alone))] == ["AAPL", "IBM", "SPY"]  # type: ignore[arg-type]
