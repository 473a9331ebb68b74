"""Massive's streams: minute and second aggregates and trades, of stocks or of crypto pairs.

One key may have one connection to each of the two markets. A stock without trades sends nothing, and outside of 04:00
to 20:00 New York no stock does. Trades have no ids that rise by one, so no trade is known to be missing: a minute of
the stream is provisional until REST has stated it. Sources: https://massive.com/docs/websocket/quickstart,
https://massive.com/docs/websocket/stocks/overview, https://massive.com/docs/websocket/crypto/overview.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from crypto_pipeline.market.sanity import MAX_MS, bar_fault
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues.client.frame_parser import FrameParser, Place, fields_of
from crypto_pipeline.venues.client.stream_venue import VenueStream
from crypto_pipeline.venues.client.websocket import WebSocketConnection
from crypto_pipeline.venues.decoding import UNREADABLE, whole
from crypto_pipeline.venues.massive import conditions
from crypto_pipeline.venues.massive.names import crypto_pair
from crypto_pipeline.venues.massive.parse import A_MILLISECOND
from crypto_pipeline.venues.protocol import shorten
from crypto_pipeline.venues.stream_protocol import (
    Alive,
    Event,
    LastingRefusal,
    LiveBar,
    Notice,
    StreamPlan,
    StreamRefused,
)

#: Timeframe of second aggregates in LiveBar: not one of ours.
SECOND = "1s"
_FIX_KEY = (
    "set CRYPTO_PIPELINE_MASSIVE_KEY to a key of https://massive.com/dashboard/keys; CRYPTO_PIPELINE_MASSIVE_FEED must "
    "be what its plan has: delayed, realtime, or rest for no stream"
)
_FIX_PLAN = (
    "a plan with this stream is needed (https://massive.com/dashboard); CRYPTO_PIPELINE_MASSIVE_FEED says whether "
    "delayed or realtime data is asked for, and rest asks for no stream"
)
_FIX_LIMIT = (
    "another program is connected with this key: stop it, or give this deployment a key of its own. Bars come by REST "
    "meanwhile"
)


@dataclass(frozen=True, slots=True)
class Channels:
    """Names of the channels of a market, and of the field that holds the ticker."""

    minute: str
    second: str
    trade: str
    ticker: str


STOCKS = Channels("AM", "A", "T", "sym")
CRYPTO = Channels("XA", "XAS", "XT", "pair")
_CHANNELS = {"stocks": STOCKS, "crypto": CRYPTO}


class _Aggregate(msgspec.Struct, gc=False):
    s: int
    e: int
    o: float
    h: float
    l: float  # noqa: E741  (the venue's name)
    c: float
    v: float


class _Trade(msgspec.Struct, gc=False):
    p: float
    s: float
    t: int
    c: list[int] = []


class _Message(msgspec.Struct):
    ev: str
    sym: str = ""
    pair: str = ""


class _Status(msgspec.Struct):
    status: str = ""
    message: str = ""


_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
_MESSAGE = msgspec.json.Decoder(_Message)
_AGGREGATE = msgspec.json.Decoder(_Aggregate, strict=False)
_TRADE = msgspec.json.Decoder(_Trade, strict=False)
_STATUS = msgspec.json.Decoder(_Status)


class MassiveFrames(FrameParser):
    """Parser of one connection's frames: each is a list of messages, of which an invalid one costs itself."""

    known_fields = {  # noqa: RUF012
        "AM": fields_of("ev sym v av op vw o c h l a z s e otc dv dav"),
        "A": fields_of("ev sym v av op vw o c h l a z s e otc dv dav"),
        "T": fields_of("ev sym x i z p s c t q trfi trft ds"),
        "XA": fields_of("ev pair o c h l v vw s e z"),
        "XAS": fields_of("ev pair o c h l v vw s e z"),
        "XT": fields_of("ev pair p t s c i x r"),
    }

    def __init__(self, instruments: Sequence[tuple[str, str]], market: str) -> None:
        self.channels = _CHANNELS[market]
        super().__init__([(name, stream_ticker(symbol, market)) for name, symbol in instruments])
        #: newest millisecond of each ticker's trades, and how many it had: ids are made as those of REST's trades
        self._counted: dict[str, tuple[int, int]] = {}

    def read(self, frame: str | bytes) -> list[Event]:
        """See FrameParser.read."""
        return self.each(_ROWS.decode(frame), self._row)

    def _row(self, row: msgspec.Raw) -> list[Event]:
        message = _MESSAGE.decode(row)
        if message.ev == "status":
            return [status_notice(_STATUS.decode(row))]
        ticker = message.sym or message.pair
        if message.ev in (self.channels.minute, self.channels.second):
            return self._bar(message.ev, ticker, _AGGREGATE.decode(row))
        if message.ev == self.channels.trade:
            return self._trade(ticker, _TRADE.decode(row))
        return self.count_unknown(f"message {message.ev!r}")

    def _bar(self, kind: str, ticker: str, row: _Aggregate) -> list[Event]:
        name = self.names.get(ticker)
        if name is None:
            return self.count_unknown(f"{kind} of {ticker}, which was not subscribed to")
        width = Timeframe.M1.milliseconds if kind == self.channels.minute else 1_000
        if not 0 < row.s <= MAX_MS or row.s % width:
            raise ValueError(f"invalid {kind}: it begins at {row.s}, which is not on the grid")
        if fault := bar_fault(row.o, row.h, row.l, row.c, row.v):
            raise ValueError(f"invalid {kind}: {fault}")
        self.bars += 1
        timeframe = str(Timeframe.M1) if kind == self.channels.minute else SECOND
        values = (row.o, row.h, row.l, row.c, row.v)
        return [LiveBar(name, timeframe, row.s, *values, None, None, None, None, None, True, row.e)]

    def _trade(self, ticker: str, row: _Trade) -> list[Event]:
        stock = self.channels is STOCKS
        if stock and not conditions.updates_last(row.c):
            return [Alive()]  # no price of a bar
        before, place = self._counted.get(ticker, (-1, 0))
        place = place + 1 if row.t == before else 0
        self._counted[ticker] = row.t, place
        number = row.t * A_MILLISECOND + min(place, A_MILLISECOND - 1)
        # the taker's side is stated for crypto alone: 1 sell, 2 buy
        return self.single_trade(self.channels.trade, ticker, number, row.t, row.p, row.s, not stock and 2 in row.c)

    def place(self, kind: str, fields: dict[str, Any]) -> Place | None:
        """See FrameParser.place."""
        kind = kind or str(fields.get("ev"))
        ticker = fields.get(self.channels.ticker)
        if kind == self.channels.trade:
            return Place(ticker, "", whole(fields.get("t")))
        if kind in (self.channels.minute, self.channels.second):
            timeframe = str(Timeframe.M1) if kind == self.channels.minute else SECOND
            return Place(ticker, timeframe, whole(fields.get("s")), closed=True)
        return None

    def _place(self, what: object) -> Place | None:
        if isinstance(what, msgspec.Raw):
            fields = msgspec.json.decode(what)
            return self.place("", fields) if isinstance(fields, dict) else None
        return super()._place(what)

    def parts(self, document: object) -> list[tuple[str, dict[str, object]]]:
        """See FrameParser.parts."""
        rows = document if isinstance(document, list) else []
        return [(str(row.get("ev")), row) for row in rows if isinstance(row, dict)]


def stream_ticker(venue_symbol: str, market: str) -> str:
    """The ticker in channels: ``BTC-USD`` of ``X:BTCUSD``; of stocks the same."""
    return "-".join(crypto_pair(venue_symbol)) if market == "crypto" else venue_symbol


def status_notice(row: _Status) -> Notice:
    """The notice of a status message."""
    text = shorten(f"{row.status}: {row.message}")
    if row.status in ("connected", "auth_success"):
        return Notice("status", text)
    return Notice("subscribed" if row.status == "success" else "refused", text)


def _refusal(name: str, row: _Status) -> StreamRefused:
    """The error of a status that refuses, with what helps."""
    said = shorten(row.message or row.status)
    if row.status == "max_connections" or "maximum number of" in said.lower():
        return LastingRefusal(f"{name}: {said} {_FIX_LIMIT}")
    if row.status in ("auth_failed", "auth_timeout"):
        return LastingRefusal(f"{name} does not accept the key ({said}): {_FIX_KEY}")
    return LastingRefusal(f"{name} refuses the stream ({said}): {_FIX_PLAN}")


class MassiveConnection(WebSocketConnection):
    """A connection whose refusals say what helps. It ends with the first: without a subscription nothing comes."""

    async def events(self) -> AsyncGenerator[list[Event], None]:
        """See WebSocketConnection.events."""
        async with aclosing(super().events()) as frames:
            async for events in frames:
                yield events
                for event in events:
                    if type(event) is Notice and event.kind == "refused":
                        raise self.refusal_of(event.text) or StreamRefused(event.text)

    def refusal_of(self, said: str) -> StreamRefused | None:
        """See WebSocketConnection.refusal_of."""
        status, _, message = said.partition(": ")
        return _refusal(self.name, _Status(status, message or status)) if said else None


class MassiveStream(VenueStream):
    """Client of Massive's streams of one ``market`` (``stocks`` or ``crypto``); see StreamingVenue.

    Everything goes over one connection: Massive allows no second one. ``url`` is the host of real-time data, or that of
    data 15 minutes late.
    """

    default_url = "wss://socket.massive.com"
    default_name = "massive"
    #: A ping is answered at any hour; out of session nothing else comes.
    default_silence_limit = 40.0
    default_symbols_per_connection = 1_000_000
    connection_class = MassiveConnection
    contiguous_ids = False
    single_connection = True

    def __init__(self, key: str, url: str | None = None, *, market: str = "stocks", **options: Any) -> None:
        super().__init__(url, **options)
        self._key, self.market = key, market

    async def connect(self, plan: StreamPlan) -> WebSocketConnection:
        """Open a connection, show the key, and subscribe.

        Raises StreamRefused; LastingRefusal for the key, for the plan, and where another connection is open.
        """
        socket = await self.opener.open(f"{self.url}/{self.market}")
        try:
            async with asyncio.timeout(self.opener.timeout):
                await self._await_status(socket, "connected")
                await self.opener.say(socket, [{"action": "auth", "params": self._key}])
                await self._await_status(socket, "auth_success")
        except (TimeoutError, WebSocketException, *UNREADABLE) as error:
            await socket.close()
            reason = shorten(str(error)) or "no answer"
            raise StreamRefused(f"{self.name}: the stream ended before the key was accepted ({reason})") from error
        except BaseException:
            await socket.close()
            raise
        channels = _CHANNELS[self.market]
        kinds = [*([channels.minute, channels.second] if plan.bars else []), *([channels.trade] if plan.trades else [])]
        topics = [f"{kind}.{stream_ticker(symbol, self.market)}" for kind in kinds for _, symbol in plan.instruments]
        await self.opener.say(socket, [{"action": "subscribe", "params": ",".join(topics)}])
        return self.connection(socket, MassiveFrames(plan.instruments, self.market))

    async def _await_status(self, socket: ClientConnection, status: str) -> None:
        """Read until this status came. Raises StreamRefused for one that refuses."""
        while True:
            frame = await socket.recv(decode=False)
            if frame[:1] != b"[":
                continue  # a ping or pong
            for row in _ROWS.decode(frame):
                if _MESSAGE.decode(row).ev != "status":
                    continue
                said = _STATUS.decode(row)
                # older servers said success and authenticated
                if said.status == status or (said.status, said.message) == ("success", "authenticated"):
                    return
                if said.status not in ("connected", "auth_success", "success"):
                    raise _refusal(self.name, said)
