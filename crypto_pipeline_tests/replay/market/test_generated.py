"""The generated tape: repeatable in any order, and bars that a naive count of its trades confirms."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.replay import GeneratedMarket, ReplayError
from crypto_pipeline.replay.market.prices import FIRST_DAY
from crypto_pipeline.replay.market.symbols import DAY_MS, choose_symbols
from crypto_pipeline.replay.market.trades import outage_minutes

DAY = datetime(2026, 11, 10, tzinfo=UTC)
SYMBOLS = ("BTC-USDT", "TRX-USDT", "STRK-USDT", "BRETT-USDT")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fingerprint(market: GeneratedMarket, symbol: str, day: datetime) -> str:
    bars = market.bars(symbol, Timeframe.M5, day, day + timedelta(days=1))
    trades = market.trades(symbol, day, day + timedelta(days=1))
    return hashlib.sha256((bars.write_csv() + trades.write_csv()).encode()).hexdigest()


def test_the_tape_does_not_depend_on_what_was_asked_before() -> None:
    cells = [(symbol, DAY + timedelta(days=day)) for symbol in SYMBOLS for day in range(4)]
    one = GeneratedMarket(7)
    straight = {cell: fingerprint(one, *cell) for cell in cells}
    shuffled = random.Random(3).sample(cells, len(cells))
    # A cache too small for anything, another order, other symbols beside them.
    other = GeneratedMarket(7, [symbol for symbol, _ in shuffled] + ["DOGE-USDT"], cache_megabytes=0)
    assert {cell: fingerprint(other, *cell) for cell in shuffled} == straight
    assert fingerprint(GeneratedMarket(8), *cells[0]) != straight[cells[0]]


def test_two_processes_make_the_same_tape() -> None:
    code = (
        "from crypto_pipeline_tests.replay.market.test_generated import *;"
        "print(fingerprint(GeneratedMarket(7), 'STRK-USDT', DAY))"
    )
    printed = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert printed[0] == printed[1] == fingerprint(GeneratedMarket(7), "STRK-USDT", DAY) + "\n"


def naive_bars(
    market: GeneratedMarket, symbol: str, timeframe: Timeframe, start: datetime, end: datetime
) -> dict[datetime, tuple[float, ...]]:
    """Bars of what traded, counted one trade after the other in exact fractions."""
    windows: dict[datetime, list[dict[str, object]]] = {}
    for trade in market.trades(symbol, start, end).iter_rows(named=True):
        windows.setdefault(timeframe.floor(trade["time"]), []).append(trade)
    bars = {}
    for opened, trades in windows.items():
        prices = [trade["price"] for trade in trades]
        sizes = [Fraction(repr(trade["quantity"])) for trade in trades]
        quotes = [Fraction(repr(price)) * size for price, size in zip(prices, sizes, strict=True)]
        bought = [trade["taker_side"] == "buy" for trade in trades]
        bars[opened] = (
            *(prices[0], max(prices), min(prices), prices[-1]),
            float(sum(sizes)),
            float(sum(quotes)),
            float(sum(size for size, buy in zip(sizes, bought, strict=True) if buy)),
            sum(trade["last_id"] - trade["first_id"] + 1 for trade in trades),
        )
    return bars


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_bars_are_what_a_naive_count_of_the_trades_gives(symbol: str, timeframe: Timeframe) -> None:
    market = GeneratedMarket(1)
    start = at("2026-11-09")
    end = start + timedelta(days=7 if timeframe is Timeframe.W1 else 2)
    expected = naive_bars(market, symbol, timeframe, start, end)
    bars = market.bars(symbol, timeframe, start, end)
    columns = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "trade_count")
    traded = bars.filter(pl.col("volume") > 0)
    assert {row["open_time"]: tuple(row[name] for name in columns) for row in traded.iter_rows(named=True)} == expected
    previous = None
    for row in bars.iter_rows(named=True):
        if row["volume"] == 0:
            assert row["trade_count"] == 0 == row["quote_volume"]
            assert {row[name] for name in ("open", "high", "low", "close")} == {previous or row["open"]}
        previous = row["close"]


def test_ids_run_on_over_midnight() -> None:
    market = GeneratedMarket(1)
    for symbol in SYMBOLS:
        trades = market.trades(symbol, DAY, DAY + timedelta(days=4))
        assert (trades["trade_id"].diff().drop_nulls() == 1).all()
        assert (trades["first_id"] == trades["last_id"].shift(1).fill_null(trades["first_id"][0] - 1) + 1).all()
        assert trades["time"].is_sorted()
    first = market.trades("BTC-USDT", at("2017-08-17"), at("2017-08-18"))
    assert first["trade_id"][0] == first["first_id"][0] == 1


def test_a_flat_bar_at_midnight_repeats_the_last_trade_of_the_day_before() -> None:
    market = GeneratedMarket(1)
    for day in range(5):
        midnight = DAY + timedelta(days=day)
        last = market.trades("BRETT-USDT", midnight - timedelta(days=1), midnight)["price"][-1]
        first = market.bars("BRETT-USDT", Timeframe.M1, midnight, midnight + timedelta(minutes=1)).row(0, named=True)
        if first["trade_count"] == 0:
            assert first["open"] == first["close"] == last


def test_tiers_differ_and_markets_cluster() -> None:
    market = GeneratedMarket(1)
    liquid = market.bars("BTC-USDT", Timeframe.M1, DAY, DAY + timedelta(days=1))
    quiet = market.bars("BRETT-USDT", Timeframe.M1, DAY, DAY + timedelta(days=1))
    assert liquid["trade_count"].mean() > 5
    assert (quiet["trade_count"] == 0).mean() > 0.5
    moves = (liquid["close"] / liquid["open"]).log().abs()
    shuffled = moves.shuffle(seed=1)
    frame = pl.DataFrame({"now": moves, "before": moves.shift(1), "by_chance": shuffled})
    assert frame.select(pl.corr("now", "before")).item() > 0.1 + abs(frame.select(pl.corr("now", "by_chance")).item())


def test_an_outage_leaves_no_bar_and_no_trade_of_any_symbol() -> None:
    market = GeneratedMarket(1)
    day = next(day for day in range(3000, 3100) if outage_minutes(1, day)[1] > outage_minutes(1, day)[0] + 10)
    start, end = outage_minutes(1, day)
    midnight = datetime.fromtimestamp((FIRST_DAY + day) * DAY_MS / 1000, UTC)
    begins, over = midnight + timedelta(minutes=start), midnight + timedelta(minutes=end)
    for symbol in SYMBOLS[:3]:
        assert market.bars(symbol, Timeframe.M1, begins, over).is_empty()
        assert market.trades(symbol, begins, over).is_empty()
        around = market.bars(symbol, Timeframe.M1, midnight, midnight + timedelta(days=1))
        assert around.height == 1440 - (end - start)


def test_listings_and_delistings() -> None:
    market = GeneratedMarket(1)
    listed = market.bars("HIPPO-USDT", Timeframe.M1, at("2026-11-10"), at("2026-11-20"))
    assert listed["open_time"][0] >= at("2026-11-18T10:30")
    assert listed["trade_count"][0] > 0
    assert market.bars("HIPPO-USDT", Timeframe.W1, at("2026-11-09"), at("2026-11-16")).is_empty()
    gone = market.bars("TREMP-USDT", Timeframe.M1, at("2026-11-16"), at("2026-11-20"))
    assert at("2026-11-17T05:00") < gone["open_time"][-1] < at("2026-11-17T06:00")
    assert market.trades("TREMP-USDT", at("2026-11-17T06:00"), at("2026-11-21")).is_empty()


@settings(max_examples=40, deadline=None)
@given(
    symbol=st.sampled_from(sorted(choose_symbols(None))),
    minute=st.integers(unix_ms(at("2026-05-01")) // 60_000, unix_ms(at("2026-11-20")) // 60_000),
)
def test_a_forming_bar_knows_only_what_has_happened(symbol: str, minute: int) -> None:
    market = GENERATED
    now = minute * 60_000 + 31_234
    for timeframe in (Timeframe.M1, Timeframe.H4):
        forming = market.forming_bar(symbol, timeframe, now)
        if forming.is_empty():
            continue
        row = forming.row(0, named=True)
        start = datetime.fromtimestamp(row["open_ms"] / 1000, UTC)
        seen = market.trades(symbol, start, start + timedelta(milliseconds=now - row["open_ms"] + 1))
        assert row["trades"] == (seen["last_id"] - seen["first_id"] + 1).sum()
        if len(seen):
            assert float(row["close"]) == seen["price"][-1]
            assert float(row["high"]) == seen["price"].max()


GENERATED = GeneratedMarket(1)


def test_bad_choices_name_the_value() -> None:
    with pytest.raises(ReplayError, match="'0'"):
        choose_symbols("0")
    with pytest.raises(ReplayError, match="WHAT"):
        choose_symbols("BTC-USDT,WHAT")
    assert list(choose_symbols("3")) == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    assert choose_symbols("FOO-USDT")["FOOUSDT"].level > 0
