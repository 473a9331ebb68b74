"""Recorded payloads with something wrong in one row: what every parser must make of them.

A parser returns rows or raises MalformedAnswer. A row that was left alone comes out, unless the spoiled row now says
something else of the same bar or trade: then the venue contradicts itself, and both are refused.
"""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import FetchPlan, LiveBar, LiveTrade, MalformedAnswer
from crypto_pipeline.venues.binance import parse as binance
from crypto_pipeline.venues.binance.archive import read_csv
from crypto_pipeline.venues.binance.stream import BinanceFrames
from crypto_pipeline.venues.coinbase import parse as coinbase
from crypto_pipeline.venues.coinbase.stream import CoinbaseFrames
from crypto_pipeline.venues.kraken import parse as kraken
from crypto_pipeline.venues.kraken.stream import KrakenFrames
from crypto_pipeline.venues.kraken.stream_v1 import KrakenV1Frames

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PLAN = FetchPlan("A-B", "AB", Timeframe.M1)
#: Rows of one payload: enough that a spoiled one has neighbours, few enough to be quick.
_ROWS = 12
Rows = dict[Any, Any]
_ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**62, 2**63, 2**64, 10**30, 10**400, 1e308, -1e308, 1e-320, 1.5, "", "x",
    "NaN", "Infinity", "-1", "1e309", "0", "²", "\x00", "\ud800", "9" * 5000, [], {}, [[]], {"a": {}},
    "2026-13-45T99:99:99Z", "0001-01-01T00:00:00+14:00", "x" * 100_000,
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """One parser with rows that it reads. ``wrap`` makes a body of rows; ``read`` says what became of them by key."""

    venue: str
    name: str
    rows: list[Any]
    wrap: Callable[[list[Any]], bytes]
    read: Callable[[bytes], Rows]


@dataclass(slots=True)
class Tally:
    """What came of the mutations."""

    payloads: int = 0
    malformed: int = 0
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def subjects(recorded: Path) -> list[Subject]:
    """Every parser of every venue, over what was recorded."""
    samples = recorded / "rest_ws_samples"
    spot = samples / "binance_spot"
    klines = json.loads((spot / "http_spot_market_klines.json").read_bytes())[:_ROWS]
    trades = json.loads((spot / "http_spot_market_agg_trades.json").read_bytes())[:_ROWS]
    info = json.loads((spot / "http_spot_market_exchange_info.json").read_bytes())["symbols"][0]
    lines = (recorded / "bars/binance_spot/ADABTC-1m-2021-11-28.csv").read_text().splitlines()[:_ROWS]
    ohlc = json.loads((samples / "kraken/http_ohlc.json").read_bytes())["result"]["XBTUSDT"][:_ROWS]
    pairs = json.loads((samples / "kraken/http_asset_pairs.json").read_bytes())["result"]
    matches = [json.loads(one) for one in _frames(recorded / "captures/coinbase", b'"match"')][: 40 * _ROWS]
    one = matches[0]["product_id"]
    matches = [row for row in matches if row["product_id"] == one][:_ROWS]
    candles = [[row[0] // 1000, *map(float, (row[3], row[2], row[1], row[4], row[5]))] for row in klines][::-1]
    kraken_trades = [
        [row["price"], row["size"], 1.7e9 + place, "b" if row["side"] == "sell" else "s", "m", "", row["trade_id"]]
        for place, row in enumerate(matches)
    ]
    listed = [copy.deepcopy(info) | {"symbol": f"S{place}", "baseAsset": f"B{place}"} for place in range(5)]
    pair, *_ = pairs.values()
    named = [copy.deepcopy(pair) | {"wsname": f"B{place}/USD"} for place in range(5)]
    product = json.loads((samples / "coinbase_advanced/http_product.json").read_bytes())
    products = [
        {
            "id": f"B{place}-USD", "base_currency": f"B{place}", "quote_currency": "USD", "status": "online",
            "quote_increment": product["quote_increment"], "base_increment": product["base_increment"],
        }
        for place in range(5)
    ]  # fmt: skip
    start, step = klines[0][0], 60_000
    span = (start - start % step, start + 10**9)
    candle_span = (span[0], span[1])

    def csv(rows: list[Any]) -> bytes:
        return "\n".join(row if isinstance(row, str) else str(row) for row in rows).encode("utf8", "replace") + b"\n"

    return [
        Subject("binance", "klines", klines, _dumps, lambda body: _klines(body, span)),
        Subject("binance", "aggTrades", trades, _dumps, lambda body: {
            row.trade_id: row for row in binance.parse_trades(body).rows}),
        Subject("binance", "exchangeInfo", listed, lambda rows: _dumps({"symbols": rows}), lambda body: {
            row.venue_symbol: row for row in binance.parse_info(body).symbols}),
        Subject("binance", "archive", lines, csv, _archive),
        Subject("coinbase", "candles", candles, _dumps, lambda body: _candles(body, candle_span)),
        Subject("coinbase", "trades", matches[::-1], _dumps, lambda body: {
            row.trade_id: (row.ms, row.price, row.quantity, row.side) for row in coinbase.parse_trades(body).rows}),
        Subject("coinbase", "products", products, _dumps, lambda body: {
            row.venue_symbol: row for row in coinbase.parse_products(body)}),
        Subject("kraken", "OHLC", ohlc, lambda rows: _dumps(
            {"error": [], "result": {"XBTUSDT": rows, "last": ohlc[-1][0]}}), lambda body: _ohlc(body, ohlc)),
        Subject("kraken", "Trades", kraken_trades, lambda rows: _dumps(
            {"error": [], "result": {"X": rows, "last": "1700000000000000000"}}), lambda body: {
            row.trade_id: (row.ms, row.price, row.quantity, row.side) for row in kraken.parse_trades(body)[0].rows}),
        Subject("kraken", "AssetPairs", named, lambda rows: _dumps(
            {"error": [], "result": {f"P{at}": row for at, row in enumerate(rows)}}), lambda body: {
            row.venue_symbol: row for row in kraken.parse_pairs(body)}),
        Subject("kraken", "trade frame", [
            {"symbol": "A/B", "side": "buy", "price": float(row["price"]), "qty": float(row["size"]),
             "trade_id": row["trade_id"], "timestamp": row["time"]} for row in matches
        ], lambda rows: _dumps({"channel": "trade", "type": "update", "data": rows}), _kraken_frame),
    ]  # fmt: skip


def sessions(recorded: Path) -> list[tuple[str, Callable[[], Any], list[bytes]]]:
    """Recorded websocket sessions with a maker of their parser."""
    return [
        (
            "binance",
            lambda: BinanceFrames([("BTC-USDT", "BTCUSDT")]),
            _frames(recorded / "captures/binance_spot", b"")[:2000],
        ),
        (
            "coinbase",
            lambda: CoinbaseFrames([("BTC-USD", "BTC-USD")]),
            _frames(recorded / "captures/coinbase", b"")[:2000],
        ),
        ("kraken", lambda: KrakenV1Frames([("BTC-USD", "XBT/USD")]), _frames(recorded / "captures/kraken", b"")[:2000]),
    ]


def examine(subject: Subject, rounds: int, chance: random.Random, tally: Tally) -> None:
    """Spoil one row ``rounds`` times, and bytes of the whole body as often again."""
    honest = subject.read(subject.wrap(subject.rows))
    assert len(honest) == len(subject.rows), (subject.name, len(honest), len(subject.rows))
    alone = [subject.read(subject.wrap([row])) for row in subject.rows]
    for _ in range(rounds):
        rows = copy.deepcopy(subject.rows)
        place = chance.randrange(len(rows))
        rows[place] = spoil(rows[place], chance)
        body = subject.wrap(rows)
        _one(
            subject,
            body,
            {key: value for at, each in enumerate(alone) if at != place for key, value in each.items()},
            tally,
        )
        raw = bytearray(body if chance.random() < 0.3 else subject.wrap(subject.rows))
        for _ in range(chance.choice([1, 1, 3, 20])):
            at = chance.randrange(len(raw))
            raw[at : at + chance.choice([0, 1, 1, 5])] = chance.randbytes(chance.choice([0, 1, 1, 4]))
        _one(subject, bytes(raw[: chance.randrange(len(raw) + 1)] if chance.random() < 0.2 else raw), {}, tally)


def _one(subject: Subject, body: bytes, expected: Rows, tally: Tally) -> None:
    tally.payloads += 1
    try:
        found = subject.read(body)
    except MalformedAnswer as error:
        tally.malformed += 1
        if not str(error):
            tally.wrong.append(f"{subject.name}: says nothing")
        if expected:
            tally.lost.append(f"{subject.name}: {error}: {body[:300]!r}")
        return
    except Exception as error:
        tally.wrong.append(f"{subject.name}: {type(error).__name__} {str(error)[:200]}: {body[:300]!r}")
        return
    for key, value in expected.items():
        # the spoiled row may state the same bar or trade otherwise: then both are refused
        if found.get(key) != value and not _claimed(body, key):
            tally.lost.append(f"{subject.name}: {key} in {body[:300]!r}")


def _claimed(body: bytes, key: Any) -> bool:
    """Whether two rows of the body are of the same bar or trade."""
    seconds = [str(key).encode(), str(key // 1000).encode() if isinstance(key, int) else b"\x00none"]
    return any(body.count(each) >= 2 for each in seconds)


def examine_session(
    make: Callable[[], Any], frames: list[bytes], rounds: int, chance: random.Random, tally: Tally
) -> None:
    """Spoil frames of a session: each is counted or told, and the frames after it are read as before."""
    for _ in range(rounds):
        frame = chance.choice(frames)
        try:
            tree = json.loads(frame)
        except ValueError:
            continue
        spoiled = _dumps(spoil(tree, chance)) if chance.random() < 0.7 else frame[: chance.randrange(len(frame) + 1)]
        tally.payloads += 1
        parser = make()
        try:
            parser.parse(spoiled)
            after = [event for event in parser.parse(frame) if isinstance(event, LiveTrade | LiveBar)]
        except Exception as error:
            tally.wrong.append(f"{type(error).__name__} {str(error)[:200]}: {spoiled[:300]!r}")
            continue
        if after != [event for event in make().parse(frame) if isinstance(event, LiveTrade | LiveBar)]:
            tally.lost.append(f"after {spoiled[:300]!r}")


def spoil(row: Any, chance: random.Random) -> Any:
    """The row with something wrong in one place."""
    if isinstance(row, str) and "," in row:  # a line of CSV
        cells = row.split(",")
        cells[chance.randrange(len(cells))] = str(chance.choice(_ODD))[:50].replace("\n", "")
        return ",".join(cells if chance.random() < 0.8 else cells[: chance.randrange(len(cells))])
    if chance.random() < 0.05:
        return chance.choice(_ODD)
    places = list(_places(row))
    path = chance.choice(places)
    inner = row
    for key in path[:-1]:
        inner = inner[key]
    match chance.randrange(4):
        case 0:
            del inner[path[-1]]
        case 1 if isinstance(inner, list):
            inner.insert(path[-1], chance.choice(_ODD))
        case 2 if isinstance(inner[path[-1]], int | float) and not isinstance(inner[path[-1]], bool):
            inner[path[-1]] = inner[path[-1]] * chance.choice([-1, 0, 1000, 10**6, 2]) + chance.choice([0, 1])
        case _:
            inner[path[-1]] = chance.choice(_ODD)
    return row


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _dumps(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def _frames(folder: Path, holding: bytes) -> list[bytes]:
    found: list[bytes] = []
    for path in sorted(folder.glob("*.gz")):
        with gzip.open(path) as lines:
            found += [
                line.split(b" ", 1)[1].strip()
                for line in lines
                if line[:1].isdigit() and holding in line and b"{" in line[:60]
            ]
        if len(found) > 3000:
            break
    return found


def _kraken_frame(body: bytes) -> Rows:
    events = KrakenFrames([("A-B", "A/B")]).parse(body)
    return {event.trade_id: event for event in events if isinstance(event, LiveTrade)}


def _bars(frame: Any) -> Rows:
    return {row[0]: row[1:] for row in frame.select(
        frame["open_time"].dt.epoch("ms"), "open", "high", "low", "close", "volume").iter_rows()}  # fmt: skip


def _klines(body: bytes, span: tuple[int, int]) -> Rows:
    rows, _ = binance.parse_klines(body)
    return _bars(binance.frame_of_klines(rows, "A-B", Timeframe.M1, NOW, span)[0])


def _archive(body: bytes) -> Rows:
    return _bars(binance.frame_of_csv(read_csv(body)[0], "A-B", Timeframe.M1, NOW)[0])


def _candles(body: bytes, span: tuple[int, int]) -> Rows:
    return _bars(coinbase.frame_of_candles(coinbase.parse_candles(body)[0], PLAN, *span, NOW)[0])


def _ohlc(body: bytes, rows: list[Any]) -> Rows:
    span = rows[0][0] * 1000, rows[-1][0] * 1000 + 1
    return _bars(kraken.frame_of_ohlc(kraken.parse_ohlc(body)[0], PLAN, NOW, span)[0])
