"""Whatever a frame holds, a parser counts it and goes on: nothing a venue sends may end the stream."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.venues import Notice
from crypto_pipeline.venues.binance.stream import BinanceFrames
from crypto_pipeline.venues.coinbase.stream import CoinbaseFrames
from crypto_pipeline.venues.kraken.stream import KrakenFrames
from crypto_pipeline.venues.kraken.stream_v1 import KrakenV1Frames

KINDS = [
    lambda: BinanceFrames([("A-B", "AB")]),
    lambda: CoinbaseFrames([("A-B", "A-B")]),
    lambda: KrakenFrames([("A-B", "A/B")]),
    lambda: KrakenV1Frames([("A-B", "A/B")]),
]
WORDS = """stream data e E s a p q f l T m k t i id result code msg error type aggTrade trade kline serverShutdown
depthUpdate match last_match heartbeat subscriptions side size price product_id time channels name
product_ids message reason trade_id last_trade_id channel symbol qty timestamp ohlc status method success
subscribe event pair systemStatus subscriptionStatus AB A-B A/B buy sell 1.5 snapshot update interval_begin
interval open high low close volume trades 2026-01-05T00:00:01.5Z""".split()  # noqa: SIM905
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.sampled_from(WORDS), st.text(max_size=5)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.sampled_from(WORDS), inner, max_size=8)),
    max_leaves=20,
)
GOOD: list[dict[str, Any] | list[Any]] = [
    {"stream": "ab@aggTrade", "data": {
        "e": "aggTrade", "E": 2, "s": "AB", "a": 1, "p": "1.5", "q": "2", "f": 1, "l": 1, "T": 1, "m": True}},
    {"stream": "ab@kline_1m", "data": {"e": "kline", "E": 2, "s": "AB", "k": {
        "t": 0, "T": 59999, "s": "AB", "i": "1m", "f": 1, "L": 1, "o": "1", "c": "1", "h": "1", "l": "1", "v": "1",
        "n": 1, "x": True, "q": "1", "V": "1", "Q": "1", "B": "0"}}},
    {"type": "match", "trade_id": 3, "side": "buy", "size": "1", "price": "2", "product_id": "A-B",
     "time": "2026-01-05T00:00:01.5Z"},
    {"type": "subscriptions", "channels": [{"name": "matches", "product_ids": ["A-B"]}]},
    {"channel": "trade", "type": "update", "data": [{
        "symbol": "A/B", "side": "buy", "price": 1.5, "qty": 1.0, "trade_id": 1,
        "timestamp": "2026-01-05T00:00:01.5Z"}]},
    {"channel": "ohlc", "type": "update", "data": [{
        "symbol": "A/B", "open": 1, "high": 1, "low": 1, "close": 1, "trades": 1, "volume": 1,
        "interval_begin": "2026-01-05T00:00:00Z", "interval": 1}]},
    {"method": "subscribe", "success": True, "result": {"symbol": "A/B", "channel": "trade"}},
    [5, [["1.5", "2", "3.5", "b", "l", ""]], "trade", "A/B"],
    {"event": "subscriptionStatus", "pair": "A/B", "status": "subscribed", "channelName": "trade"},
]  # fmt: skip


def survives(frame: str | bytes) -> None:
    for make in KINDS:
        parser = make()
        events = parser.parse(frame)
        assert isinstance(events, list)
        assert events, "each frame is at least a sign of life"
        counted = parser.counters
        assert counted["frames"] == 1
        told = [event for event in events if isinstance(event, Notice) and event.kind == "unknown"]
        assert len(told) == counted["unknown"] + counted["malformed"]


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_any_json(tree: object) -> None:
    survives(json.dumps(tree))


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.binary()))
def test_anything(frame: str | bytes) -> None:
    survives(frame)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_good_frames_with_something_wrong_in_one_place(data: st.DataObject) -> None:
    tree = json.loads(json.dumps(data.draw(st.sampled_from(GOOD))))
    path = data.draw(st.sampled_from(places(tree)[1:]))
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[path[-1]] = data.draw(LEAVES)
    else:
        del inner[path[-1]]
    text = json.dumps(tree)
    survives(text)
    survives(text[: data.draw(st.integers(0, len(text)))])


def test_good_frames_are_good() -> None:
    for tree, kind in zip(GOOD, [0, 0, 1, 1, 2, 2, 2, 3, 3], strict=True):
        parser = KINDS[kind]()
        parser.parse(json.dumps(tree))
        assert (parser.unknown, parser.malformed, parser.unknown_fields) == (0, 0, set()), tree


def test_nested_without_end() -> None:
    survives("[" * 100_000)
    survives('{"data":' * 100_000)
