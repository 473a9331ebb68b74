"""What a venue states and cannot be, live: nothing stored is lost by it, it is named, neighbours go on, and it ends.

Guards I1 (docs/invariants.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from crypto_pipeline.healing.processors import after_minute
from crypto_pipeline.ingest import term
from crypto_pipeline.ingest.repair import gap_watch, rest_requests
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline_tests.ingest.conftest import Desk

MINUTE = timedelta(minutes=1)
HTML = "<html><body>502 Bad Gateway</body></html>"

#: What REST says of trades; with whether single trades of it are refused.
ANSWERS: dict[str, tuple[dict[str, Any], bool]] = {
    "NaN": ({"kind": "bad_rows", "values": {"p": "NaN"}}, True),
    "infinity": ({"kind": "bad_rows", "values": {"q": "Infinity"}}, True),
    "negative": ({"kind": "bad_rows", "values": {"q": "-1"}}, True),
    "1e308": ({"kind": "bad_rows", "values": {"q": "1e308"}}, True),
    "no ids": ({"kind": "bad_rows", "absent": "a"}, True),
    "ids reversed": ({"kind": "bad_rows", "reverse_ids": True}, False),
    "other times": ({"kind": "bad_rows", "shift_ms": 86_400_000}, False),
    "an empty list": ({"kind": "malformed", "body": "[]"}, False),
    "an empty object": ({"kind": "malformed", "body": "{}"}, False),
    "HTML": ({"kind": "malformed", "body": HTML}, False),
    "half a body": ({"kind": "truncated"}, False),
}
#: What the stream says of trades and bars.
MESSAGES: dict[str, dict[str, Any]] = {
    "trade NaN": {"stream": "aggTrade", "values": {"p": "NaN"}},
    "trade infinity": {"stream": "aggTrade", "values": {"q": "Infinity"}},
    "trade negative": {"stream": "aggTrade", "values": {"p": "-1"}},
    "trade without id": {"stream": "aggTrade", "absent": "a"},
    "trade of another unit": {"stream": "aggTrade", "values": {"T": 10**17}},
    "bar taker": {"stream": "kline_1m", "values": {"taker_buy_volume": "9e15"}},
    "bar count": {"stream": "kline_1m", "values": {"trade_count": 2**62}},
    "bar volume": {"stream": "kline_1m", "values": {"volume": "1e308"}},
    "bar high": {"stream": "kline_1m", "values": {"high": "0.00000001"}},
}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_requests, "_FIRST", 0.01)
    monkeypatch.setattr(term.Term, "clock_every", 0.2)


def _refused(desk: Desk) -> set[str]:
    """Instruments of which rows were refused."""
    return set(desk.store.trades.apart.read(desk.symbols).filter(reason="refused")["instrument"])


async def test_no_answer_of_rest_takes_a_stored_trade_or_bar_away(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(len(ANSWERS) + 1, speed=60.0, settings={"request_attempts": 2, "heal_backoff": 0.001})
    clock, names = desk.exchange.clock, dict(zip(ANSWERS, desk.symbols, strict=False))
    async with desk.ingesting():
        start = await desk.first_whole_minute()
        await desk.until(lambda: clock.now() > start + 3 * MINUTE)
    end = clock.now() + MINUTE
    trades, bars = desk.trades(start, end), desk.bars(start, end)
    assert trades.height > 150

    for what, symbol in names.items():
        desk.exchange.control({"endpoint": "aggTrades", "symbol": symbol, **ANSWERS[what][0]})
    desk.exchange.control({"kind": "ws_drop", "probability": 0.03})
    async with desk.ingesting(on_minute=after_minute(desk.settings)):
        await desk.until(lambda: desk.state() == "live")
        again = Timeframe.M1.ceil(clock.now())
        await desk.until(lambda: clock.now() > again + 3 * MINUTE)
        # dropped messages, which chance decides, make ingest ask for the trades of each
        refusing = {names[what] for what, (_, refused) in ANSWERS.items() if refused and what in names}
        await desk.until(lambda: refusing <= _refused(desk))
        kept = desk.trades(start, end)
        assert trades.join(kept, on=trades.columns, how="anti")["instrument"].unique().to_list() == []
        complete = bars.filter("complete").drop("source", "revision")
        assert complete.join(desk.bars(start, end), on=complete.columns, how="anti").is_empty()

        apart = desk.store.trades.apart.read(desk.symbols)
        for what, (_, refused) in ANSWERS.items():
            rows = apart.filter(instrument=names.get(what, ""), reason="refused")
            assert rows.height > 0 or not refused, what
        assert apart.filter(instrument=desk.symbols[-1]).is_empty()

        desk.exchange.clear_faults()
        last = Timeframe.M1.ceil(clock.now())
        await desk.until(lambda: clock.now() > last + 2 * MINUTE)
        whole = [(symbol, last) for symbol in desk.symbols]
        await desk.until(lambda: _complete(desk, last) >= set(whole))
    neighbour = Desk.__new__(Desk)
    neighbour.__dict__.update(desk.__dict__, symbols=desk.symbols[-1:])
    neighbour.check(start, last + MINUTE)


def _complete(desk: Desk, minute: Any) -> set[tuple[str, Any]]:
    return set(desk.bars(minute, minute + MINUTE).filter("complete").select("instrument", "open_time").rows())


async def test_what_a_stream_says_and_cannot_be_is_named_and_had_otherwise(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(len(MESSAGES) + 3, speed=60.0)
    clock, names = desk.exchange.clock, dict(zip(MESSAGES, desk.symbols, strict=False))
    mixed, lost, good = desk.symbols[-3:]
    async with desk.ingesting():
        start = await desk.first_whole_minute() + MINUTE
        # of this one nothing but bars that cannot be are to be had
        desk.exchange.control(
            {"kind": "ws_bad_rows", "symbol": lost, **MESSAGES["bar volume"]},
            {"kind": "ws_drop", "symbol": lost},
            {"kind": "malformed", "symbol": lost, "endpoint": "aggTrades"},
            {"kind": "bad_rows", "symbol": lost, "endpoint": "klines", "values": {"volume": "1e308"}},
        )
        for what, symbol in names.items():
            desk.exchange.control({"kind": "ws_bad_rows", "symbol": symbol, **MESSAGES[what]})
        for manner, body in (("half", ""), ("body", HTML), ("body", "{}")):
            fault = {"kind": "ws_malformed", "symbol": mixed, "probability": 0.05, "manner": manner}
            desk.exchange.control(fault | ({"body": body} if body else {}))
        await desk.until(lambda: clock.now() > start + 3 * MINUTE)
        await desk.until(lambda: start + MINUTE in _told(desk, lost))
        desk.exchange.clear_faults()
        desk.symbols.remove(lost)
        await desk.reach(start, start + 3 * MINUTE)
        beat = desk.store.heartbeats.get("ingest-0")
        assert beat is not None
        assert beat.detail["link_unread"] > 0
        trades, bars = desk.store.trades.apart.read(desk.symbols), desk.store.bars_apart.read(desk.symbols)
    for what, symbol in names.items():
        if what.startswith("trade"):
            rows = trades.filter(instrument=symbol, reason="refused")
            assert rows.height > 0, what
            assert rows["said"].str.len_chars().min() > 20
            continue
        rows = bars.filter(instrument=symbol, venue="replay", timeframe="1m")
        over = rows.filter(pl.col("open_time").is_between(start, start + 2 * MINUTE))
        assert over.height == 3, what
    assert {good}.isdisjoint([*trades["instrument"], *bars["instrument"]])


def _told(desk: Desk, symbol: str) -> set[Any]:
    """Minutes of which the ledger says with the reason and the value that they were refused."""
    return {
        row["start"]
        for row in _evidence(desk)
        if row["instrument"] == symbol and "larger than anything" in row["because"] and "1e308" in row["because"]
    }


def _evidence(desk: Desk) -> list[dict[str, Any]]:
    """What the ledger says or said, of every minute."""
    rows = [*desk.store.ledger.open().to_dicts(), *desk.store.ledger.healed().to_dicts()]
    return [{**row, "because": json.loads(row["evidence"])["because"]} for row in rows]


async def test_a_trade_that_the_venue_only_tells_of_is_not_asked_for_again_and_again(
    make_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bars count up to an id that no trade has."""
    monkeypatch.setattr(gap_watch, "_OVERTAKEN", 0.02)
    desk = make_desk(2, speed=20.0)
    clock, symbol = desk.exchange.clock, desk.symbols[0]
    async with desk.ingesting():
        await desk.until(lambda: desk.state() == "live")
        desk.exchange.control({"kind": "ws_bad_rows", "symbol": symbol, "stream": "kline_1m", "values": {"L": 2**50}})
        start = Timeframe.M1.ceil(clock.now())
        await desk.until(lambda: clock.now() > start + 3 * MINUTE)
        beat = desk.store.heartbeats.get("ingest-0")
        assert beat is not None
        assert beat.detail["ask_asked"] < 25


async def test_an_instrument_that_the_venue_fails_for_holds_nobody_up_and_comes_to_an_end(
    make_desk: Callable[..., Desk],
) -> None:
    desk = make_desk(4, speed=60.0, settings={"request_attempts": 1, "heal_backoff": 0.001})
    clock, (unread, unknown, broken, _) = desk.exchange.clock, desk.symbols
    async with desk.ingesting():
        await desk.until(lambda: desk.state() == "live")
        await desk.until(lambda: desk.trades(clock.now() - 9 * MINUTE, clock.now())["instrument"].n_unique() == 4)
    desk.exchange.control(
        {"kind": "malformed", "endpoint": ["aggTrades", "klines"], "symbol": unread, "body": HTML},
        {"kind": "server_error", "endpoint": ["aggTrades", "klines"], "symbol": broken},
    )
    row = desk.store.instruments.listings("replay")
    desk.store.instruments.set_listings(
        "replay", [type(one)(one.symbol, "NOSUCH") if one.symbol == unknown else one for one in row]
    )
    gone = clock.now() + timedelta(minutes=2)
    await desk.until(lambda: clock.now() > gone)
    async with desk.ingesting():
        await desk.until(lambda: desk.state() == "live")

        def ended() -> bool:
            open_now = set(desk.store.checks.open_alerts()["source"])
            rows = {row["instrument"]: row["because"] for row in _evidence(desk) if "unanswered" in row["evidence"]}
            told = all("gave none" in rows.get(symbol, "") for symbol in (unread, unknown, broken))
            return told and {f"asks:replay:{symbol}" for symbol in (unread, unknown, broken)} <= open_now

        await desk.until(ended)
        # the neighbour was not held up, and what streams of the others is stored
        start = Timeframe.M1.ceil(clock.now())
        await desk.until(lambda: clock.now() > start + 2 * MINUTE)
        assert {desk.symbols[-1]} <= set(desk.bars(start, start + MINUTE).filter("complete")["instrument"])
        beat = desk.store.heartbeats.get("ingest-0")
        assert beat is not None
        assert beat.detail["ask_given_up"] >= 3
