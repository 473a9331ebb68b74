"""Bodies into frames: exact digits, strict shapes, recorded answers."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.market.bars import BAR_SCHEMA, TRADE_SCHEMA
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import BudgetLimit, ListingStatus, MalformedAnswer
from crypto_pipeline.venues.binance import parse
from crypto_pipeline.venues.binance.archive import read_csv

NOW = datetime(2026, 11, 21, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def sample(recorded_data: Path, name: str) -> bytes:
    path = recorded_data / "rest_ws_samples" / "binance_spot" / f"http_spot_market_{name}.json"
    if not path.is_file():
        pytest.skip(f"no recorded answer {path.name}")
    return path.read_bytes()


def frame_of(rows: list[list[Any]], timeframe: Timeframe = Timeframe.M1) -> pl.DataFrame:
    read, unread = parse.parse_klines(json.dumps(rows).encode())
    frame, refused = parse.frame_of_klines(read, "A-B", timeframe, NOW)
    assert [*unread, *refused] == []
    return frame


def check_row(got: dict[str, Any], row: list[Any]) -> None:
    """The frame's row states exactly the numbers of the venue's text."""
    assert got["open_time"] == EPOCH + timedelta(milliseconds=int(row[0]))
    for name, place in (("open", 1), ("high", 2), ("low", 3), ("close", 4), ("volume", 5)):
        assert got[name] == float(row[place])
    assert got["quote_volume"] == float(row[7])
    assert got["trade_count"] == int(row[8])
    assert got["taker_buy_volume"] == float(row[9])


def test_recorded_klines(recorded_data: Path) -> None:
    body = sample(recorded_data, "klines")
    rows = json.loads(body)
    frame, refused = parse.frame_of_klines(parse.parse_klines(body)[0], "BTC-USDT", Timeframe.M1, NOW)
    assert not refused
    assert (dict(frame.schema), frame.height) == (BAR_SCHEMA, len(rows))
    for got, row in zip(frame.iter_rows(named=True), rows, strict=True):
        check_row(got, row)


def test_recorded_archive_rows(recorded_data: Path) -> None:
    path = recorded_data / "bars" / "binance_spot" / "ADABTC-1m-2021-11-28.csv"
    if not path.is_file():
        pytest.skip(f"no recorded file {path.name}")
    frame, refused = parse.frame_of_csv(read_csv(path.read_bytes())[0], "ADA-BTC", Timeframe.M1, NOW)
    assert not refused
    with path.open() as lines:
        rows = list(csv.reader(lines))
    assert (dict(frame.schema), frame.height) == (BAR_SCHEMA, len(rows))
    for got, row in zip(frame.iter_rows(named=True), rows, strict=True):
        check_row(got, row)


def test_recorded_trades(recorded_data: Path) -> None:
    body = sample(recorded_data, "agg_trades")
    rows = json.loads(body)
    frame = parse.frame_of_trades(parse.parse_trades(body).rows, "BTC-USDT")
    assert (dict(frame.schema), frame.height) == (TRADE_SCHEMA, len(rows))
    for got, row in zip(frame.iter_rows(named=True), rows, strict=True):
        assert (got["trade_id"], got["first_id"], got["last_id"]) == (row["a"], row["f"], row["l"])
        assert (got["price"], got["quantity"]) == (float(row["p"]), float(row["q"]))
        assert got["taker_side"] == ("sell" if row["m"] else "buy")
        assert got["time"] == EPOCH + timedelta(milliseconds=row["T"])


def test_recorded_exchange_info_and_time(recorded_data: Path) -> None:
    info = parse.parse_info(sample(recorded_data, "exchange_info"))
    assert parse.weight_limit(info, 0.5) == BudgetLimit(1200, 60.0, 0.5)
    listing = info.symbols[0]
    assert (listing.venue_symbol, listing.base, listing.quote) == ("BTCUSDT", "BTC", "USDT")
    assert (listing.status, str(listing.tick_size)) == (ListingStatus.TRADING, "0.01000000")
    assert parse.parse_server_time(sample(recorded_data, "time")) == 1633835466289


decimals = st.decimals(min_value=0, max_value=10**9, places=8, allow_nan=False)
prices = st.decimals(min_value="0.00000001", max_value=10**9, places=8, allow_nan=False)


@given(st.lists(st.tuples(*[prices] * 4, *[decimals] * 3), min_size=1, max_size=20))
@settings(deadline=None)
def test_every_digit_survives_on_both_ways(numbers: list[tuple[Any, ...]]) -> None:
    rows = []
    for minute, (*four, one, other, quote) in enumerate(numbers, 1):
        low, *inner, high = (f"{number:.8f}" for number in sorted(four))
        taker, volume = (f"{number:.8f}" for number in sorted((one, other)))
        row = [minute * 60_000, inner[0], high, low, inner[1], volume, minute * 60_000 + 59_999, f"{quote:.8f}", 3]
        rows.append([*row, taker, "0", "0"])
    rest = frame_of(rows)
    for got, row in zip(rest.iter_rows(named=True), rows, strict=True):
        check_row(got, row)
    text = "".join(",".join(map(str, row)) + "\n" for row in rows).encode()
    assert parse.frame_of_csv(read_csv(text)[0], "A-B", Timeframe.M1, NOW)[0].equals(rest)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(deadline=None)
def test_garbage_is_malformed_or_empty_never_another_error(body: bytes) -> None:
    for reader in (parse.parse_klines, parse.parse_trades, parse.parse_info, parse.parse_server_time, parse.kline_open):
        try:
            found = reader(body)  # type: ignore[operator]
        except MalformedAnswer:
            continue
        assert found is not None or reader is parse.kline_open
        if reader is parse.parse_klines:
            assert len(found[0]) == 0
        if reader is parse.parse_trades:
            assert found.rows == []
    parse.parse_error(body)


def test_counts_that_were_not_recorded_are_null() -> None:
    row = [60_000, "1", "2", "0.5", "1.5", "10", 119_999, "0", 0, "0", "0", "0"]
    got = frame_of([row]).row(0, named=True)
    assert (got["quote_volume"], got["taker_buy_volume"], got["trade_count"]) == (None, None, None)
    stated = frame_of([[*row[:7], "15", *row[8:]]]).row(0, named=True)
    assert (stated["quote_volume"], stated["trade_count"]) == (15.0, None)
    flat = frame_of([[*row[:5], "0", *row[6:]]]).row(0, named=True)
    assert (flat["quote_volume"], flat["taker_buy_volume"], flat["trade_count"]) == (0.0, 0.0, 0)


def test_bars_off_the_grid_are_left_out_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    rows = [[at, "1", "2", "0.5", "1.5", "10", at + 59_999, "15", 4, "1", "1", "0"] for at in (60_000, 90_500, 120_000)]
    kept = frame_of(rows)
    assert kept["open_time"].dt.epoch("ms").to_list() == [60_000, 120_000]
    assert "1 bars off the grid" in caplog.text


def test_microseconds_are_told_by_magnitude() -> None:
    row = [1_700_000_040_000_000, "1", "2", "0.5", "1.5", "10", 1_700_000_099_999_999, "15", 4, "1", "1", "0"]
    assert frame_of([row])["open_time"][0] == datetime(2023, 11, 14, 22, 14, tzinfo=UTC)


def test_ban_until_is_read_from_the_text() -> None:
    said_at = datetime(2021, 5, 16, tzinfo=UTC).timestamp()
    until = int((said_at + 90) * 1000)
    text = f"Way too much request weight used; IP banned until {until}. Please use WebSocket"
    assert parse.banned("x", text, said_at).retry_after == 90


@pytest.mark.parametrize(
    ("window", "name"), [(60.0, "1M"), (10.0, "10S"), (300.0, "5M"), (3600.0, "1H"), (86400.0, "1D")]
)
def test_header_follows_the_stated_window(window: float, name: str) -> None:
    assert parse.used_header(BudgetLimit(1, window)) == f"X-MBX-USED-WEIGHT-{name}"
