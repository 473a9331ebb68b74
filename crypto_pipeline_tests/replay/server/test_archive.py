"""Archive files: when they appear, what they hold, their checksums and damages."""

from __future__ import annotations

import csv
import hashlib
import io
import urllib.error
import urllib.request
import zipfile
from datetime import UTC, datetime, timedelta

import pytest

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline_tests.replay.conftest import NOW

DAY = datetime(2026, 11, 20, tzinfo=UTC)


def get(exchange: ReplayExchange, path: str) -> tuple[int, bytes, str]:
    try:
        with urllib.request.urlopen(f"{exchange.url}/data/spot/{path}") as answer:
            return answer.status, answer.read(), answer.headers["Last-Modified"]
    except urllib.error.HTTPError as error:
        return error.code, error.read(), ""


def unpacked(body: bytes) -> list[list[str]]:
    with zipfile.ZipFile(io.BytesIO(body)) as packed:
        (name,) = packed.namelist()
        assert name.endswith(".csv")
        return list(csv.reader(io.StringIO(packed.read(name).decode())))


def sums_agree(exchange: ReplayExchange, path: str) -> bool:
    stated, name = get(exchange, path + ".CHECKSUM")[1].decode().split()
    assert name == path.rpartition("/")[2]
    return hashlib.sha256(get(exchange, path)[1]).hexdigest() == stated


DAILY = "daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-11-20.zip"


def test_a_daily_file_is_the_tape(frozen: ReplayExchange) -> None:
    status, body, modified = get(frozen, DAILY)
    assert (status, modified) == (200, "Sat, 21 Nov 2026 00:00:00 GMT")
    assert sums_agree(frozen, DAILY)
    lines = unpacked(body)
    truth = frozen.market.bars("BTC-USDT", Timeframe.M1, DAY, DAY + timedelta(days=1))
    # Files of these days carry microseconds.
    assert [int(line[0]) for line in lines] == [unix_ms(moment) * 1000 for moment in truth["open_time"]]
    assert all(int(line[6]) == int(line[0]) + 59_999_999 for line in lines)
    assert [float(line[4]) for line in lines] == truth["close"].to_list()
    assert [float(line[7]) for line in lines] == truth["quote_volume"].to_list()
    assert [int(line[8]) for line in lines] == truth["trade_count"].to_list()


def test_files_before_2025_carry_milliseconds(frozen: ReplayExchange) -> None:
    lines = unpacked(get(frozen, "daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-12-31.zip")[1])
    assert len(lines) in (23, 24)
    assert int(lines[0][0]) == unix_ms(datetime(2024, 12, 31, tzinfo=UTC))
    assert int(lines[0][6]) == int(lines[0][0]) + 3_599_999


def test_monthly_and_weekly_files(frozen: ReplayExchange) -> None:
    monthly = "monthly/klines/BRETTUSDT/1d/BRETTUSDT-1d-2026-10.zip"
    assert len(unpacked(get(frozen, monthly)[1])) == 31
    assert sums_agree(frozen, monthly)
    weeks = unpacked(get(frozen, "monthly/klines/BRETTUSDT/1w/BRETTUSDT-1w-2026-10.zip")[1])
    assert [datetime.fromtimestamp(int(line[0]) / 1e6, UTC).day for line in weeks] == [5, 12, 19, 26]


def test_aggregate_trades(frozen: ReplayExchange) -> None:
    path = "daily/aggTrades/BRETTUSDT/BRETTUSDT-aggTrades-2026-11-20.zip"
    lines = unpacked(get(frozen, path)[1])
    truth = frozen.market.trades("BRETT-USDT", DAY, DAY + timedelta(days=1))
    assert [int(line[0]) for line in lines] == truth["trade_id"].to_list()
    assert [float(line[1]) for line in lines] == truth["price"].to_list()
    assert [int(line[5]) // 1000 for line in lines] == truth["time"].dt.epoch("ms").to_list()
    assert {line[6] for line in lines} == {"True", "False"}


@pytest.mark.parametrize(
    "path",
    [
        "daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-11-21.zip",  # today
        "monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2026-11.zip",  # this month
        "daily/klines/HIPPOUSDT/1m/HIPPOUSDT-1m-2026-11-10.zip",  # not listed yet
        "daily/klines/NOSUCHPAIR/1m/NOSUCHPAIR-1m-2026-11-10.zip",
        "daily/klines/BTCUSDT/1m/ETHUSDT-1m-2026-11-10.zip",
        "daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-13-10.zip",
        "daily/klines/BTCUSDT/1m/BTCUSDT-1m-2026-10.zip",
        "daily/klines/BTCUSDT/7m/BTCUSDT-7m-2026-11-10.zip",
    ],
)
def test_files_that_are_not_there(frozen: ReplayExchange, path: str) -> None:
    status, body, _ = get(frozen, path)
    assert status == 404
    assert b"NoSuchKey" in body
    assert get(frozen, path + ".CHECKSUM")[0] == 404


def test_damages() -> None:
    with running_exchange(now=NOW, speed=0, instruments=1) as exchange:
        good = get(exchange, DAILY)[1]
        for manner in ("bytes", "checksum", "truncated"):
            exchange.control({"kind": "corrupt_archive", "manner": manner, "count": 1, "symbol": "BTCUSDT"})
            assert not sums_agree(exchange, DAILY)
            assert sums_agree(exchange, DAILY)
        exchange.control({"kind": "corrupt_archive", "manner": "missing", "count": 1})
        assert get(exchange, DAILY)[0] == 404
        exchange.clear_faults()
        exchange.control({"kind": "corrupt_archive", "manner": "header"})
        assert sums_agree(exchange, DAILY)
        assert unpacked(get(exchange, DAILY)[1])[0][0] == "open_time"
        assert unpacked(get(exchange, DAILY)[1])[1:] == unpacked(good)
        exchange.clear_faults()
        span = {"start": DAY.isoformat(), "end": (DAY + timedelta(minutes=30)).isoformat()}
        exchange.control({"kind": "missing_range", "endpoint": "archive", **span})
        assert len(unpacked(get(exchange, DAILY)[1])) == len(unpacked(good)) - 30
        exchange.clear_faults()
        assert get(exchange, DAILY)[1] == good
