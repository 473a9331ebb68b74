"""Coinbase Exchange streams: matches, and a heartbeat each second with the newest trade id.

Source: https://docs.cdp.coinbase.com/exchange/websocket-feed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from crypto_pipeline.market.sanity import MAX_ID
from crypto_pipeline.venues.client.frame_parser import FrameParser, Place, fields_of
from crypto_pipeline.venues.client.stream_venue import VenueStream
from crypto_pipeline.venues.client.timestamps import IsoTimes, readable_ms
from crypto_pipeline.venues.client.websocket import WebSocketConnection
from crypto_pipeline.venues.decoding import whole
from crypto_pipeline.venues.protocol import shorten
from crypto_pipeline.venues.stream_protocol import Alive, Anchor, Event, Notice, StreamPlan


class _Match(msgspec.Struct, tag_field="type", tag="match", gc=False):
    trade_id: int
    side: str
    size: float
    price: float
    product_id: str
    time: str


class _LastMatch(msgspec.Struct, tag_field="type", tag="last_match", gc=False):
    trade_id: int
    product_id: str
    time: str


class _Heartbeat(msgspec.Struct, tag_field="type", tag="heartbeat", gc=False):
    product_id: str
    time: str
    last_trade_id: int = 0


class _Channel(msgspec.Struct):
    name: str
    product_ids: list[str] = []


class _Subscriptions(msgspec.Struct, tag_field="type", tag="subscriptions"):
    channels: list[_Channel] = []


class _Error(msgspec.Struct, tag_field="type", tag="error"):
    message: str = ""
    reason: str = ""


class _Changes(msgspec.Struct, tag_field="type", tag="l2update", gc=False):
    pass


class _Ticker(msgspec.Struct, tag_field="type", tag="ticker", gc=False):
    pass


_FRAME = msgspec.json.Decoder(
    _Match | _LastMatch | _Heartbeat | _Subscriptions | _Error | _Changes | _Ticker, strict=False
)
_TAGS = frozenset({"match", "last_match", "heartbeat", "subscriptions", "error", "l2update", "ticker"})
#: Types of messages that this module ignores.
_OTHERS = frozenset(
    {"snapshot", "received", "open", "done", "change", "activate", "status", "ticker_batch", "rfq_match", "auction"}
)


class CoinbaseFrames(FrameParser):
    """Parser of one connection's frames."""

    known_fields = {  # noqa: RUF012
        "match": fields_of("type trade_id maker_order_id taker_order_id side size price product_id sequence time"),
        "heartbeat": fields_of("type sequence last_trade_id product_id time"),
    }

    def __init__(self, instruments: list[tuple[str, str]]) -> None:
        super().__init__(instruments)
        self._ms = IsoTimes().ms
        self._subscribed: set[str] = set()

    def read(self, frame: str | bytes) -> list[Event]:
        """See FrameParser.read."""
        try:
            data = _FRAME.decode(frame)
        except msgspec.ValidationError:
            return self._read_other(frame)
        if isinstance(data, _Match):
            return self._match(data)
        if isinstance(data, _Heartbeat):
            # It has been 0 for long periods; then the heartbeat only shows that the stream works.
            name = self.names.get(data.product_id)
            if name is None:
                return self.count_unknown(f"heartbeat of {data.product_id}, which was not subscribed to")
            return [Anchor(name, _known(data.last_trade_id), self._ms(data.time))]
        if isinstance(data, _LastMatch):
            # The last trade before the subscription: it marks the start, and is not a trade of the stream.
            name = self.names.get(data.product_id)
            if name is None:
                return self.count_unknown(f"last_match of {data.product_id}, which was not subscribed to")
            return [Anchor(name, _known(data.trade_id), self._ms(data.time))]
        if isinstance(data, _Subscriptions):
            return self._subscriptions(data)
        if isinstance(data, _Error):
            return self._error(data)
        return [Alive()]

    def _match(self, data: _Match) -> list[Event]:
        # The side is the maker's: if the maker sold, the taker bought.
        taker_buy = {"buy": False, "sell": True}.get(data.side)
        stated = self._ms(data.time)
        return self.single_trade("match", data.product_id, data.trade_id, stated, data.price, data.size, taker_buy)

    def _subscriptions(self, data: _Subscriptions) -> list[Event]:
        """The answer to a subscription is always the full list; only new products become events."""
        products = [product for each in data.channels if each.name == "matches" for product in each.product_ids]
        fresh = [product for product in products if product in self.names and product not in self._subscribed]
        self._subscribed.update(fresh)
        return [Notice("subscribed", "matches", self.names[product]) for product in fresh] or [Alive()]

    def _error(self, data: _Error) -> list[Event]:
        text = shorten(f"{data.message}: {data.reason}" if data.reason else data.message)
        named = [name for product, name in self.names.items() if product in text.replace(",", " ").split()]
        return [Notice("refused", text, name) for name in named] or [Notice("refused", text)]

    def _read_other(self, frame: str | bytes) -> list[Event]:
        document = msgspec.json.decode(frame)
        if not isinstance(document, dict):
            raise ValueError("not an object")
        kind = document.get("type")
        if kind in _TAGS:
            _FRAME.decode(frame)  # raises the error that names the fault
        if kind in _OTHERS:
            return [Alive()]
        return self.count_unknown(str(kind or sorted(document)))

    def place(self, kind: str, fields: dict[str, Any]) -> Place | None:
        """See FrameParser.place."""
        if kind != "match":
            return None
        return Place(fields["product_id"], "", readable_ms(self._ms, fields.get("time")), whole(fields.get("trade_id")))

    def parts(self, document: object) -> list[tuple[str, dict[str, object]]]:
        """See FrameParser.parts."""
        return [(str(document.get("type")), document)] if isinstance(document, dict) else []


def _known(trade_id: int) -> int | None:
    if not 0 <= trade_id <= MAX_ID:
        raise ValueError(f"trade id {trade_id} is negative or too large")
    return trade_id or None


class CoinbaseStream(VenueStream):
    """Client of Coinbase Exchange's streams; see StreamingVenue. The venue streams no bars."""

    default_url = "wss://ws-feed.exchange.coinbase.com"
    default_name = "coinbase"
    #: Each product sends a heartbeat every second. The venue publishes no age limit; connections are replaced daily.
    default_silence_limit = 10.0
    default_symbols_per_connection = 100
    states_bars = False

    async def connect(self, plan: StreamPlan) -> WebSocketConnection:
        """Open a connection and subscribe at once: the venue closes it after 5 s without one. Raises StreamRefused."""
        socket = await self.opener.open(self.url)
        channels = ["matches", "heartbeat"] if plan.trades else ["heartbeat"]
        products = [symbol for _, symbol in plan.instruments]
        await self.opener.say(socket, [{"type": "subscribe", "product_ids": products, "channels": channels}])
        return self.connection(socket, CoinbaseFrames(plan.instruments))
