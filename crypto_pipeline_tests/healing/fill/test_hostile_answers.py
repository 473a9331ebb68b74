"""What a venue states of its past and cannot be: kept apart and named, nothing stored is lost, it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline_tests.healing.conftest import NOW, Bench

START = datetime(2026, 11, 20, 9, tzinfo=UTC)
END = START + timedelta(minutes=3)
SPAN = {"start": START.isoformat(), "end": END.isoformat()}
#: What REST says of three minutes, and a word of the reason.
BARS: dict[str, tuple[dict[str, Any], str]] = {
    "count": ({"values": {"trade_count": 2**62}}, "larger than anything"),
    "volume": ({"values": {"volume": "1e308"}}, "larger than anything"),
    "taker": ({"values": {"taker_buy_volume": "9e15"}}, "taker volume"),
    "NaN": ({"values": {"close": "NaN"}}, "finite"),
    "infinity": ({"values": {"high": "Infinity"}}, "finite"),
    "negative": ({"values": {"low": "-1"}}, "above zero"),
    "short": ({"absent": "taker_buy_quote_volume"}, "row"),
}
#: What it says to every question about one instrument.
PAGES: dict[str, dict[str, Any]] = {
    "HTML": {"kind": "malformed"},
    "empty object": {"kind": "malformed", "body": "{}"},
    "half": {"kind": "truncated"},
    "errors": {"kind": "server_error"},
}


def test_bars_that_cannot_be_are_kept_apart_and_come_to_an_end(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(settings={"days": 1, "heal_attempts": 2, "request_attempts": 1})
    symbols = [info.canonical for info in bench.exchange.market.symbols()[: len(BARS) + 1]]
    names, good = dict(zip(BARS, symbols, strict=False)), symbols[-1]
    bench.collect(*symbols)
    faults = [
        {"kind": "bad_rows", "endpoint": "klines", "symbol": names[what], "timeframe": "1m", **BARS[what][0], **SPAN}
        for what in BARS
    ]
    no_trades = {"kind": "bad_rows", "endpoint": "aggTrades", "symbol": list(names.values()), "values": {"p": "NaN"}}
    bench.exchange.control(*faults, {**no_trades, **SPAN})

    seen = []
    for _ in range(3):
        bench.run(lambda pipeline: pipeline.backfill(START - timedelta(hours=1), NOW, timeframes=[Timeframe.M1]))
        rows = bench.store.ledger.open(timeframe=Timeframe.M1, start=START, end=END)
        seen.append(set(rows.select("state", "attempts").rows()))
    assert seen == [{("lost", 1)}, {("unfillable", 1)}, {("unfillable", 1)}]
    apart, trades = bench.store.bars_apart.read(symbols), bench.store.trades.apart.read(symbols)
    for what, (_, word) in BARS.items():
        mine = rows.filter(instrument=names[what])
        assert mine["bars"].sum() == 3, what
        assert all(word in json.loads(one)["because"] for one in mine["evidence"]), what
        stated = apart.filter(instrument=names[what], venue="replay", timeframe="1m")
        assert stated["open_time"].to_list() == [START + timedelta(minutes=at) for at in range(3)], what
        assert all(word in one for one in stated["reason"]), what
        assert not trades.filter(instrument=names[what], reason="refused").is_empty(), what
        assert bench.store.reader.read([names[what]], Timeframe.M1, START - timedelta(minutes=9), START).height == 9
    assert bench.store.reader.read([good], Timeframe.M1, START, END).height == 3
    assert {good}.isdisjoint([*apart["instrument"], *trades["instrument"], *rows["instrument"]])

    # what is stored is not touched when the venue says such things of it later
    bench.exchange.clear_faults()
    for gap in rows["gap_id"]:
        bench.store.ledger.reopen(gap, "again")
    bench.run(lambda pipeline: pipeline.backfill(START - timedelta(hours=1), NOW, timeframes=[Timeframe.M1]))
    stored = bench.store.reader.read(symbols, Timeframe.M1, START, END)
    assert stored.height == 3 * len(symbols)
    bench.exchange.control(*faults)
    bench.run(lambda pipeline: pipeline.reconcile(START, END, timeframes=[Timeframe.M5], reread=True))
    kept = bench.store.reader.read(symbols, Timeframe.M1, START, END)
    assert kept.drop("revision", "recorded_at").equals(stored.drop("revision", "recorded_at"))


def test_an_instrument_with_nothing_but_errors_costs_itself_and_comes_to_an_end(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(settings={"days": 1, "heal_attempts": 2, "request_attempts": 1})
    symbols = [info.canonical for info in bench.exchange.market.symbols()[: len(PAGES) + 2]]
    names, unknown, good = dict(zip(PAGES, symbols, strict=False)), symbols[-2], symbols[-1]
    bench.collect(*symbols)
    listings = [
        type(row)(row.symbol, "NOSUCH" if row.symbol == unknown else row.venue_symbol, listed=row.listed)
        for row in bench.store.instruments.listings("replay")
    ]
    bench.store.instruments.set_listings("replay", listings)
    for what, symbol in names.items():
        bench.exchange.control({"endpoint": ["klines", "aggTrades"], "symbol": symbol, **PAGES[what]})
    span = NOW - timedelta(hours=1), NOW
    for _ in range(3):
        bench.run(lambda pipeline: pipeline.backfill(*span, timeframes=[Timeframe.M1]))
    rows = bench.store.ledger.open(timeframe=Timeframe.M1, start=span[0], end=span[1])
    for what in [*PAGES, "unknown"]:
        mine = rows.filter(instrument=names.get(what, unknown))
        assert set(mine["state"]) == {"unfillable"}, what
        because = json.loads(mine["evidence"][0])["because"]
        assert "sent invalid data" in because or "answers for it with an error" in because, what
    assert rows.filter(instrument=good).is_empty()
    assert bench.store.reader.read([good], Timeframe.M1, *span).height >= 59
    report = bench.run(lambda pipeline: pipeline.backfill(*span, timeframes=[Timeframe.M1]))
    assert report.of(Timeframe.M1).planned == 0
    assert pl.Series(rows["bars"]).sum() >= 59 * 5
