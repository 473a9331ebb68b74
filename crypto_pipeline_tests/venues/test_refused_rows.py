"""One row that cannot be costs itself: the rows, pages, instruments and listings beside it come through."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.market.sanity import bar_fault, bar_fault_exprs, bar_faults
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import BarsAnswer, BinanceSpot, FetchPlan, MalformedAnswer, VenueError
from crypto_pipeline.venues.binance import parse
from crypto_pipeline.venues.binance.stream import BinanceFrames
from crypto_pipeline.venues.coinbase import parse as coinbase_parse
from crypto_pipeline.venues.kraken import parse as kraken_parse
from crypto_pipeline_tests.builders.scripted_binance import ScriptedVenue, body, kline, ms
from crypto_pipeline_tests.oracles.sanity import bar_sanity

KLINES = "/api/v3/klines"
Make = Callable[..., BinanceSpot]
DAY = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOW = datetime(2026, 11, 21, tzinfo=UTC)

BAD_ROWS: list[tuple[str, Callable[[list[Any]], Any], str]] = [
    ("high below low", lambda row: [*row[:2], "1", "2", *row[4:]], "enclose"),
    ("taker volume", lambda row: [*row[:9], "99", *row[10:]], "taker volume"),
    ("NaN", lambda row: [row[0], "NaN", *row[2:]], "finite"),
    ("negative", lambda row: [*row[:5], "-1", *row[6:]], "negative"),
    ("count of 2^62", lambda row: [*row[:8], 2**62, *row[9:]], "larger than anything"),
    ("volume of 1e308", lambda row: [*row[:5], "1e308", *row[6:]], "larger than anything"),
    ("nanoseconds", lambda row: [row[0] * 1_000_000, *row[1:]], "another unit"),
    ("not a row", lambda row: {"a": 1}, "row 3"),
    ("short", lambda row: row[:5], "row 3"),
    ("a huge number", lambda row: [*row[:8], 10**400, *row[9:]], ""),
    ("null", lambda row: [row[0], None, *row[2:]], "row 3"),
]


@pytest.mark.parametrize(("spoil", "reason"), [pytest.param(*each[1:], id=each[0]) for each in BAD_ROWS])
def test_a_bad_kline_is_refused_with_its_reason_and_costs_itself(
    spoil: Callable[[list[Any]], Any], reason: str
) -> None:
    rows: list[Any] = [kline(ms(DAY) + at * 60_000) for at in range(9)]
    rows[3] = spoil(rows[3])
    read, unread = parse.parse_klines(json.dumps(rows).encode())
    span = ms(DAY), ms(DAY) + 9 * 60_000
    bars, refused = parse.frame_of_klines(read, "A-B", Timeframe.M1, NOW, span)
    assert ((bars["open_time"] - DAY).dt.total_minutes()).to_list() == [0, 1, 2, 4, 5, 6, 7, 8]
    (one,) = [*unread, *refused]
    assert reason in one.reason
    assert one.said


def test_the_same_row_twice_is_one_bar_and_a_contradiction_is_none() -> None:
    rows = [kline(ms(DAY) + at * 60_000) for at in (2, 0, 1, 1, 3, 4, 4)]  # and out of order
    rows[-1][4] = "99.5"
    read, _ = parse.parse_klines(json.dumps(rows).encode())
    bars, refused = parse.frame_of_klines(read, "A-B", Timeframe.M1, NOW)
    assert ((bars["open_time"] - DAY).dt.total_minutes()).to_list() == [0, 1, 2, 3]
    assert [(one.ms, "different rows" in one.reason) for one in refused] == [(ms(DAY) + 240_000, True)] * 2


def test_a_row_that_took_the_time_of_another_is_told_by_when_it_ends() -> None:
    rows = [kline(ms(DAY) + at * 60_000) for at in range(5)]
    rows[2][0] = rows[3][0]
    read, _ = parse.parse_klines(json.dumps(rows).encode())
    bars, refused = parse.frame_of_klines(read, "A-B", Timeframe.M1, NOW)
    assert ((bars["open_time"] - DAY).dt.total_minutes()).to_list() == [0, 1, 3, 4]
    assert bars["close"][2] == float(rows[3][4])
    assert len(refused) == 1


def test_candles_and_ohlc_are_held_to_the_same(caplog: pytest.LogCaptureFixture) -> None:
    at = ms(DAY) // 1000
    candles = [[at + 60 * place, 1, 3, 2, 2.5, 7] for place in range(5)][::-1]
    candles[1] = [candles[1][0], 3, 1, 2, 2.5, 7]  # low above high
    candles[3] = [candles[3][0], "x", 3, 2, 2.5, 7]
    plan = FetchPlan("A-B", "A-B", Timeframe.M1)
    rows, unread = coinbase_parse.parse_candles(json.dumps([*candles, candles[0]]).encode())
    bars, refused = coinbase_parse.frame_of_candles(rows, plan, ms(DAY), ms(DAY) + 300_000, NOW)
    assert ((bars["open_time"] - DAY).dt.total_minutes()).to_list() == [0, 2, 4]
    assert [one.ms for one in (*unread, *refused)] == [ms(DAY) + 60_000, ms(DAY) + 180_000]
    ohlc: list[Any] = [[at + 60 * place, "2", "3", "1", "2.5", "2.2", "7", 4] for place in range(5)]
    ohlc[1][7], ohlc[3] = 2**62, [ohlc[3][0], "2", "NaN", "1", "2.5", "2.2", "7", 4]
    content = json.dumps({"error": [], "result": {"XXBTZUSD": ohlc, "last": at + 240}}).encode()
    found, _, unread = kraken_parse.parse_ohlc(content)
    bars, refused = kraken_parse.frame_of_ohlc(found, plan, NOW, (ms(DAY), ms(DAY) + 300_000))
    assert ((bars["open_time"] - DAY).dt.total_minutes()).to_list() == [0, 2, 4]
    assert len([*unread, *refused]) == 2
    assert "refused" in caplog.text


def test_trades_that_cannot_be_are_refused_one_by_one() -> None:
    rows: list[dict[str, Any]] = [
        {"a": at, "p": "1.5", "q": "2", "f": at, "l": at, "T": ms(DAY) + at, "m": True} for at in range(8)
    ]
    rows[1]["p"], rows[2]["q"], rows[3]["l"], rows[4]["T"] = "NaN", "1e308", -5, 10**30
    rows[5]["a"], rows[6]["p"] = "x", None
    page = parse.parse_trades(json.dumps([*rows, rows[7]]).encode())
    assert [row.trade_id for row in page.rows] == [0, 7]
    assert sorted(one.trade_id for one in page.refused if one.trade_id is not None) == [1, 2, 3, 4, 6]
    assert len(page.refused) == 6
    said = [
        {"trade_id": at, "side": "buy", "size": "1", "price": "2", "time": f"2026-01-05T00:00:0{at}Z"}
        for at in range(1, 6)
    ]
    said[1]["side"], said[2]["time"], said[3]["size"] = "none", "yesterday", "inf"
    page2 = coinbase_parse.parse_trades(json.dumps(said[::-1]).encode())
    assert [row.trade_id for row in page2.rows] == [1, 5]
    assert sorted(one.trade_id or 0 for one in page2.refused) == [2, 3, 4]
    kraken = [["1", "2", 1767571200.5 + at, "b", "m", "", at] for at in range(1, 6)]
    kraken[1][3], kraken[2][0], kraken[3][2] = "x", "-1", 1e300
    content = {"error": [], "result": {"XXBTZUSD": kraken, "last": "1767571205000000000"}}
    page3, _ = kraken_parse.parse_trades(json.dumps(content).encode())
    assert [row.trade_id for row in page3.rows] == [1, 5]


def test_a_bad_entry_of_a_listing_is_named_and_skipped(caplog: pytest.LogCaptureFixture) -> None:
    good = {"symbol": "AB", "status": "TRADING", "baseAsset": "A", "quoteAsset": "B", "filters": []}
    bad: list[Any] = [
        good | {"symbol": "NULLED", "filters": None},
        good | {"symbol": "NUMERIC", "filters": [{"filterType": "PRICE_FILTER", "tickSize": 0.01}]},
        {key: value for key, value in good.items() if key != "baseAsset"} | {"symbol": "BASELESS"},
        good | {"symbol": "TEXT", "filters": [{"filterType": "PRICE_FILTER", "tickSize": "abc"}]},
        good | {"symbol": ""},
        17,
    ]
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}, {"x": 1}]
    info = parse.parse_info(
        json.dumps({"serverTime": 1, "rateLimits": limits, "symbols": [good, *bad, good | {"symbol": "CD"}]}).encode()
    )
    assert [one.venue_symbol for one in info.symbols] == ["AB", "CD"]
    assert len(info.rate_limits) == 1
    for name in ("NULLED", "NUMERIC", "BASELESS", "TEXT"):
        assert name in caplog.text
    products = [{"id": "A-B", "base_currency": "A", "quote_currency": "B"}, {"id": "C-D", "base_currency": None}]
    assert [one.venue_symbol for one in coinbase_parse.parse_products(json.dumps(products).encode())] == ["A-B"]
    pairs = {"A": {"wsname": "XBT/USD"}, "B": {"wsname": "A/B", "pair_decimals": 10**9}, "C": {"wsname": 5}, "D": {}}
    found = kraken_parse.parse_pairs(json.dumps({"error": [], "result": pairs}).encode())
    assert [one.venue_symbol for one in found] == ["BTC/USD"]
    with pytest.raises(MalformedAnswer, match="none of 1 entries"):
        coinbase_parse.parse_products(b'[{"id": 5}]')


def test_nonsense_limits_are_not_taken_over() -> None:
    def limit(**changed: int) -> object:
        stated = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000} | changed
        return parse.weight_limit(parse.parse_info(json.dumps({"rateLimits": [stated], "symbols": []}).encode()), 0.9)

    assert limit() is not None
    assert [limit(limit=0), limit(limit=-5), limit(limit=2**62), limit(intervalNum=0)] == [None] * 4


async def test_a_bad_page_costs_its_span_and_the_other_pages_come(server: ScriptedVenue, make: Make) -> None:
    bad = DAY + 1000 * MINUTE

    async def handler(request: Any) -> Any:
        if int(request.query.get("startTime", 0)) == ms(bad):
            return await body('[[1,2,3],"x"')(request)
        return server.true_answer(request)

    server.always(KLINES, handler)
    venue = make()
    failed: list[tuple[FetchPlan, VenueError]] = []
    plans = [FetchPlan(name, name, Timeframe.M1, [(DAY, DAY + 3000 * MINUTE)]) for name in ("A-B", "C-D")]
    answers: list[BarsAnswer] = [
        answer
        async for answer in venue.bars_many(
            plans, archive=False, on_error=lambda plan, error: failed.append((plan, error))
        )
    ]
    assert [(plan.instrument, plan.spans) for plan, _ in failed] == [
        (name, [(bad, bad + 1000 * MINUTE)]) for name in ("A-B", "C-D")
    ]
    assert all(isinstance(error, MalformedAnswer) for _, error in failed)
    assert sum(answer.bars.height for answer in answers) == 4000


async def test_bad_pages_of_one_instrument_do_not_close_the_venue_for_others(server: ScriptedVenue, make: Make) -> None:
    async def handler(request: Any) -> Any:
        if request.query["symbol"] == "BAD":
            return await body("<html>")(request)
        return server.true_answer(request)

    server.always(KLINES, handler)
    venue = make()
    failed: list[str] = []
    plans = [FetchPlan(name, name, Timeframe.M1, [(DAY, DAY + 9000 * MINUTE)]) for name in ("BAD", "AB")]
    answers = [
        answer
        async for answer in venue.bars_many(
            plans, archive=False, on_error=lambda plan, error: failed.append(type(error).__name__)
        )
    ]
    assert sum(answer.bars.height for answer in answers) == 9000
    assert failed == ["MalformedAnswer"] * 9


_good = st.sampled_from([(2.0, 3.0, 1.0, 2.5, 7.0, 15.0, 3.0, 4), (2.0, 2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0)])
_wrong = st.sampled_from([float("nan"), float("inf"), -1.0, 0.0, 1.0, 2.0, 5.0, 99.0, 1e13, 1e17, 1e308])
_spoiled = st.builds(
    lambda row, place, value: (*row[:place], value, *row[place + 1 :]), _good, st.integers(0, 6), _wrong
)
_counted = st.builds(lambda row, count: (*row[:7], count), _good, st.sampled_from([-1, 0, 3, 2**62]))
_high = st.just((1e13, 1e13, 1e13, 1e13, 1.0, 1.0, 1.0, 1))


@given(st.lists(st.one_of(_good, _spoiled, _counted, _high), min_size=1, max_size=30))
@settings(deadline=None)
def test_rest_stream_and_store_refuse_the_same(rows: list[tuple[Any, ...]]) -> None:
    names = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "trade_count")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    frame = pl.DataFrame(columns).with_columns(
        pl.lit("A-B").alias("instrument"),
        (pl.lit(DAY) + pl.duration(minutes=pl.int_range(len(rows)))).alias("open_time"),
    )
    by_frame = bar_sanity(frame, Timeframe.M1)["open_time"].to_list()
    arrays = {name: np.array(columns[name]) for name in names[:-1]}
    by_array = bar_faults(arrays, np.array(columns["trade_count"]))
    assert [DAY + place * MINUTE for place in sorted(by_array)] == by_frame
    assert frame.filter(pl.any_horizontal(bar_fault_exprs().values()))["open_time"].to_list() == by_frame
    assert sorted(by_array) == [place for place, row in enumerate(rows) if bar_fault(*row) is not None]
    parser = BinanceFrames([("A-B", "AB")])
    for place, row in enumerate(rows):
        said = dict(zip("ohlcvqVn", map(str, row), strict=True))
        bar = {"t": ms(DAY), "i": "1m", "f": 1, "L": 1, "x": True} | said
        parser.parse(json.dumps({"stream": "s", "data": {"e": "kline", "E": ms(DAY), "s": "AB", "k": bar}}))
        assert parser.malformed == sum(1 for bad in by_array if bad <= place)
