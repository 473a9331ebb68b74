"""Binance spot streams: combined streams of aggregate trades and 1m bars, symbols spread over connections.

Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from crypto_pipeline.market.sanity import MAX_AMOUNT, MAX_ID, MAX_MS, MAX_PRICE, bar_fault, trade_fault
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.venues.binance.parse import MICROSECONDS_FROM, AggTradeFields
from crypto_pipeline.venues.client.frame_parser import FrameParser, Place
from crypto_pipeline.venues.client.stream_venue import VenueStream
from crypto_pipeline.venues.client.websocket import WebSocketConnection
from crypto_pipeline.venues.decoding import whole
from crypto_pipeline.venues.protocol import shorten
from crypto_pipeline.venues.stream_protocol import Alive, Event, LiveBar, Notice, StreamPlan, spread_evenly

#: Minutes of each interval of a bar.
MINUTES = {str(timeframe): timeframe.minutes for timeframe in Timeframe}
#: The values of an invalid bar that its message quotes, by their letters.
_SAID = {
    **{"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "quote_volume": "q"},
    **{"taker_buy_volume": "V", "trade_count": "n"},
}
#: The venue's limit of streams on one connection.
MAX_STREAMS = 1024
#: Longest address with streams, in characters; further streams are subscribed to by messages.
_MAX_URL = 3_500
#: Stream names in one message, and seconds between messages (the venue allows 5 messages a second, with pongs).
_NAMES_A_MESSAGE, _PAUSE = 200, 0.26


class _AggTrade(AggTradeFields, tag_field="e", tag="aggTrade", gc=False):
    s: str


class _Trade(msgspec.Struct, tag_field="e", tag="trade", gc=False):
    s: str
    t: int
    p: float
    q: float
    T: int
    m: bool
    #: In futures streams: trades of the insurance fund are not market trades.
    X: str = "MARKET"


class _Bar(msgspec.Struct, gc=False):
    t: int
    i: str
    f: int
    L: int
    o: float
    c: float
    h: float
    l: float  # noqa: E741
    v: float
    n: int
    x: bool
    q: float
    V: float


class _Kline(msgspec.Struct, tag_field="e", tag="kline", gc=False):
    E: int
    s: str
    k: _Bar


class _Shutdown(msgspec.Struct, tag_field="e", tag="serverShutdown", gc=False):
    E: int | None = None


class _Depth(msgspec.Struct, tag_field="e", tag="depthUpdate", gc=False):
    E: int | None = None


_Data = _AggTrade | _Trade | _Kline | _Shutdown | _Depth


class _Combined(msgspec.Struct, gc=False):
    data: _Data


# Not strict: numbers come as strings, which msgspec then reads as correctly rounded doubles without a Python step.
_COMBINED = msgspec.json.Decoder(_Combined, strict=False)
_PLAIN = msgspec.json.Decoder(_Data, strict=False)
_TAGS = frozenset({"aggTrade", "trade", "kline", "serverShutdown", "depthUpdate"})
#: Streams that this module ignores.
_OTHERS = ("@bookTicker", "@depth", "@ticker", "@miniTicker", "@avgPrice", "@markPrice", "@forceOrder")
_OTHER_TYPES = frozenset(
    {"bookTicker", "24hrTicker", "24hrMiniTicker", "1hTicker", "4hTicker", "1dTicker", "avgPrice", "markPriceUpdate"}
)


class BinanceFrames(FrameParser):
    """Parser of one connection's frames, combined or plain. ``pending``: message id → instruments of that
    subscription.
    """

    known_fields = {  # noqa: RUF012
        "aggTrade": frozenset("eEsapqflTmM"),
        "trade": frozenset("eEstpqTmMXba"),
        "kline": frozenset("eEsk"),
        "bar": frozenset("tTsifLochlvnxqVQB"),
    }

    def __init__(self, instruments: Sequence[tuple[str, str]]) -> None:
        super().__init__([(name, symbol.upper()) for name, symbol in instruments])
        self.pending: dict[int, list[str]] = {}

    def read(self, frame: str | bytes) -> list[Event]:
        """See FrameParser.read."""
        try:
            data = _COMBINED.decode(frame).data
        except msgspec.ValidationError:
            return self._read_other(frame)
        return self._event(data)

    def _event(self, data: _Data) -> list[Event]:
        if isinstance(data, _AggTrade):
            ms = data.time if data.time < MICROSECONDS_FROM else data.time // 1000
            name = self.names.get(data.s)
            if name is None:
                return self.count_unknown(f"aggTrade of {data.s}, which was not subscribed to")
            # the rules of market.sanity.trade_fault, written out for speed: thousands are read each second
            number, first, last = data.trade_id, data.first_id, data.last_id
            price, quantity = data.price, data.quantity
            numbers = 0 <= first <= last <= MAX_ID and 0 <= number <= MAX_ID and 0 < ms <= MAX_MS
            if not (numbers and 0.0 < price <= MAX_PRICE and 0.0 < quantity <= MAX_AMOUNT):
                raise ValueError(f"invalid aggregate trade: {trade_fault(first, last, number, ms, price, quantity)}")
            self.trades += 1
            return [LiveTrade(name, number, first, last, ms, price, quantity, not data.buyer_is_maker)]
        if isinstance(data, _Kline):
            return self._bar(data)
        if isinstance(data, _Trade):
            return self._trade(data)
        if isinstance(data, _Shutdown):
            return [Notice("shutdown", "the server is about to shut down")]
        return [Alive(_ms(data.E))]

    def _trade(self, data: _Trade) -> list[Event]:
        name = self.names.get(data.s)
        if name is None:
            return self.count_unknown(f"trade of {data.s}, which was not subscribed to")
        if data.X != "MARKET":
            return [Alive(_ms(data.T))]
        ms = data.T if data.T < MICROSECONDS_FROM else data.T // 1000
        numbers = 0 <= data.t <= MAX_ID and 0 < ms <= MAX_MS
        if not (numbers and 0.0 < data.p <= MAX_PRICE and 0.0 < data.q <= MAX_AMOUNT):
            raise ValueError(f"invalid trade: {trade_fault(data.t, data.t, data.t, ms, data.p, data.q)}")
        self.trades += 1
        return [LiveTrade(name, data.t, data.t, data.t, ms, data.p, data.q, not data.m)]

    def _bar(self, data: _Kline) -> list[Event]:
        bar, name = data.k, self.names.get(data.s)
        if name is None:
            return self.count_unknown(f"kline of {data.s}, which was not subscribed to")
        begin, stated = _ms(bar.t), _ms(data.E)
        why = bar_fault(bar.o, bar.h, bar.l, bar.c, bar.v, bar.q, bar.V, bar.n, MINUTES.get(bar.i, 1))
        if why is not None or begin % 60_000 or not (0 <= begin <= MAX_MS and 0 <= stated <= MAX_MS):
            raise ValueError(f"invalid bar: {why or 'its time is in another unit or off the grid'}")
        if not (-1 <= bar.f <= MAX_ID and -1 <= bar.L <= MAX_ID):
            raise ValueError("invalid bar: its first or last trade id is below -1 or too large")
        self.bars += 1
        silent = bar.f < 0
        return [
            LiveBar(
                name, bar.i, begin, bar.o, bar.h, bar.l, bar.c, bar.v, bar.q, bar.V, bar.n,
                None if silent else bar.f, None if silent else bar.L, bar.x, stated,
            )
        ]  # fmt: skip

    def _read_other(self, frame: str | bytes) -> list[Event]:
        document = msgspec.json.decode(frame)
        if not isinstance(document, dict):
            raise ValueError("not an object")
        if "e" in document and document["e"] in _TAGS:
            return self._event(_PLAIN.decode(frame))
        if "id" in document or "code" in document or "error" in document:
            return self._answered(document)
        data = document.get("data", document)
        kind = data.get("e") if isinstance(data, dict) else None
        stream = str(document.get("stream", ""))
        if kind in _TAGS:
            _COMBINED.decode(frame)  # raises the error that names the fault
        if kind == "serverShutdown" or stream == "!serverShutdown":
            return [Notice("shutdown", "the server is about to shut down")]
        if kind in _OTHER_TYPES or any(other in stream for other in _OTHERS):
            return [Alive(_ms(data.get("E")) if isinstance(data, dict) else None)]
        return self.count_unknown(str(kind or stream or sorted(document)))

    def _answered(self, document: dict[str, Any]) -> list[Event]:
        """An answer to a subscribe message: ``{"result":null,"id":1}``, or a code and a text."""
        names: list[str | None] = [*self.pending.pop(whole(document.get("id")) or -1, [])] or [None]
        if "result" in document and document.get("error") is None and "code" not in document:
            return [Notice("subscribed", "", name) for name in names]
        error = document.get("error") or document
        text = f"{error.get('code')} {error.get('msg', '')}".strip() if isinstance(error, dict) else str(error)
        return [Notice("refused", shorten(text), name) for name in names]

    def place(self, kind: str, fields: dict[str, Any]) -> Place | None:
        """See FrameParser.place."""
        if kind == "kline":
            bar = fields["k"]
            said = ", ".join(f"{name} {bar.get(letter)}" for name, letter in _SAID.items())
            return Place(fields["s"], str(bar["i"]), _stated_ms(bar.get("t")), closed=bar.get("x") is True, said=said)
        if kind in ("aggTrade", "trade"):
            number = fields.get("a") if kind == "aggTrade" else fields.get("t")
            return Place(fields["s"], "", _stated_ms(fields.get("T")), whole(number), said=str(fields))
        return None

    def parts(self, document: object) -> list[tuple[str, dict[str, object]]]:
        """See FrameParser.parts."""
        data = document.get("data", document) if isinstance(document, dict) else None
        if not isinstance(data, dict) or "e" not in data:
            return []
        found = [(str(data["e"]), data)]
        if isinstance(data.get("k"), dict):
            found.append(("bar", data["k"]))
        return found


def _stated_ms(stamp: object) -> int | None:
    number = whole(stamp)
    return number // 1000 if number is not None and number > MICROSECONDS_FROM else number


class BinanceStream(VenueStream):
    """Client of Binance spot's streams, or of a server with the same interface; see StreamingVenue."""

    default_url = "wss://data-stream.binance.vision"
    default_name = "binance"
    #: The venue sends a ping every 20 s, so a connection without any message for 30 s is broken.
    default_silence_limit = 30.0

    def spread(self, plan: StreamPlan) -> list[StreamPlan]:
        """Cut a plan into one plan per connection."""
        each = max(1, plan.trades + plan.bars)
        return spread_evenly(plan, min(self.stream_traits.max_per_connection, MAX_STREAMS // each))

    async def connect(self, plan: StreamPlan) -> WebSocketConnection:
        """Open a connection and subscribe. Raises StreamRefused."""
        parser = BinanceFrames(plan.instruments)
        told, rest = _in_address(plan)
        socket = await self.opener.open(f"{self.url}/stream?streams={'/'.join(_names(plan, told))}")
        messages: list[object] = []
        for number, part in enumerate(_chunks(rest, _NAMES_A_MESSAGE // max(1, plan.trades + plan.bars)), start=1):
            parser.pending[number] = [name for name, _ in part]
            messages.append({"method": "SUBSCRIBE", "params": _names(plan, part), "id": number})
        await self.opener.say(socket, messages, pause=_PAUSE)
        return self.connection(socket, parser, [Notice("subscribed", "in the address", name) for name, _ in told])


def _names(plan: StreamPlan, part: Sequence[tuple[str, str]]) -> list[str]:
    kinds = [kind for kind, wanted in (("aggTrade", plan.trades), ("kline_1m", plan.bars)) if wanted]
    return [f"{symbol.lower()}@{kind}" for _, symbol in part for kind in kinds]


def _in_address(plan: StreamPlan) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Instruments whose streams fit into the address, and the remaining ones."""
    room = _MAX_URL
    for place, pair in enumerate(plan.instruments):
        room -= sum(len(name) + 1 for name in _names(plan, [pair]))
        if room < 0:
            return plan.instruments[:place], plan.instruments[place:]
    return plan.instruments, []


def _chunks(pairs: Sequence[tuple[str, str]], size: int) -> Iterator[Sequence[tuple[str, str]]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


def _ms(stamp: int | None) -> Any:
    return stamp // 1000 if stamp is not None and stamp > MICROSECONDS_FROM else stamp
