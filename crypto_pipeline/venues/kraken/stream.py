"""Kraken spot streams (WebSocket v2): trades with a snapshot of the last 50, and 1m bars.

Numbers are JSON numbers. msgspec reads them as the nearest double, which equals the double of REST's strings.
Source: https://docs.kraken.com/api/docs/websocket-v2/trade.
"""

from __future__ import annotations

from typing import Any

import msgspec

from crypto_pipeline.market.sanity import MAX_MS, bar_fault
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues.client.frame_parser import FrameParser, Place, fields_of
from crypto_pipeline.venues.client.stream_venue import VenueStream
from crypto_pipeline.venues.client.timestamps import IsoTimes, readable_ms
from crypto_pipeline.venues.client.websocket import WebSocketConnection
from crypto_pipeline.venues.decoding import document as any_document
from crypto_pipeline.venues.decoding import whole
from crypto_pipeline.venues.kraken.names import stream_name
from crypto_pipeline.venues.protocol import shorten
from crypto_pipeline.venues.stream_protocol import Alive, Event, LiveBar, Notice, StreamPlan

_SYMBOLS_A_MESSAGE = 100
_WIDTHS = {timeframe.minutes: str(timeframe) for timeframe in Timeframe}


class _Trade(msgspec.Struct, gc=False):
    symbol: str
    side: str
    price: float
    qty: float
    trade_id: int
    timestamp: str


class _Trades(msgspec.Struct, tag_field="channel", tag="trade", gc=False):
    type: str
    data: list[_Trade]


class _Bar(msgspec.Struct, gc=False):
    symbol: str
    open: float
    high: float
    low: float
    close: float
    trades: int
    volume: float
    interval_begin: str
    interval: int


class _Bars(msgspec.Struct, tag_field="channel", tag="ohlc", gc=False):
    type: str
    data: list[_Bar]
    timestamp: str | None = None


class _Heartbeat(msgspec.Struct, tag_field="channel", tag="heartbeat", gc=False):
    pass


class _System(msgspec.Struct):
    system: str = ""


class _Status(msgspec.Struct, tag_field="channel", tag="status"):
    data: list[_System] = []


_FRAME = msgspec.json.Decoder(_Trades | _Bars | _Heartbeat | _Status)
_TAGS = frozenset({"trade", "ohlc", "heartbeat", "status"})
_OTHERS = frozenset({"ticker", "book", "level3", "instrument"})


class KrakenFrames(FrameParser):
    """Parser of one connection's frames.

    The venue's bars have no closed flag. When a later bar of a symbol comes, the previous one is reported again as
    closed. The last bar of a symbol without further trades is never reported as closed.
    """

    known_fields = {  # noqa: RUF012
        "trade": fields_of("symbol side price qty ord_type trade_id timestamp"),
        "ohlc": fields_of("symbol open high low close trades volume vwap interval_begin interval timestamp"),
    }

    def __init__(self, instruments: list[tuple[str, str]]) -> None:
        super().__init__([(name, stream_name(symbol)) for name, symbol in instruments])
        self._ms, self._begin_ms = IsoTimes().ms, IsoTimes().ms
        self._forming: dict[tuple[str, int], LiveBar] = {}

    def read(self, frame: str | bytes) -> list[Event]:
        """See FrameParser.read."""
        try:
            data = _FRAME.decode(frame)
        except msgspec.MsgspecError:
            return self._read_other(frame)
        if isinstance(data, _Trades):
            # A snapshot may repeat trades; their ids show which are new.
            trades = sorted(data.data, key=_trade_id) if data.type == "snapshot" else data.data
            return self.each(trades, self._trade)
        if isinstance(data, _Bars):
            stated = self._ms(data.timestamp) if data.timestamp else None
            return self.each(data.data, lambda row: self._bar(row, stated))
        if isinstance(data, _Status):
            return [Notice("status", shorten(each.system)) for each in data.data] or [Alive()]
        return [Alive()]

    def _trade(self, data: _Trade) -> list[Event]:
        taker_buy = {"buy": True, "sell": False}.get(data.side)
        stated = self._ms(data.timestamp)
        return self.single_trade("trade", data.symbol, data.trade_id, stated, data.price, data.qty, taker_buy)

    def _bar(self, row: _Bar, stated: int | None) -> list[Event]:
        name, timeframe = self.names.get(row.symbol), _WIDTHS.get(row.interval)
        if name is None or timeframe is None:
            return self.count_unknown(f"ohlc-{row.interval} of {row.symbol}, which was not subscribed to")
        why = bar_fault(row.open, row.high, row.low, row.close, row.volume, None, None, row.trades, row.interval)
        begin = self._begin_ms(row.interval_begin)
        if why is not None or begin % 60_000 or not 0 <= begin <= MAX_MS:
            raise ValueError(f"invalid bar: {why or 'its time is off the grid'}")
        bar = LiveBar(
            name, timeframe, begin, row.open, row.high, row.low, row.close, row.volume,
            None, None, row.trades, None, None, False, begin if stated is None else stated,
        )  # fmt: skip
        self.bars += 1
        key = row.symbol, row.interval
        before = self._forming.get(key)
        if before is not None and before.open_ms > begin:  # a correction of a bar that has ended
            return [msgspec.structs.replace(bar, closed=True)]
        self._forming[key] = bar
        if before is not None and before.open_ms < begin:
            return [msgspec.structs.replace(before, closed=True), bar]
        return [bar]

    def _read_other(self, frame: str | bytes) -> list[Event]:
        document = any_document(frame)
        if not isinstance(document, dict):
            raise ValueError("not an object")
        if "method" in document or "error" in document:
            return self._answered(document)
        channel = document.get("channel")
        if channel in ("trade", "ohlc") and isinstance(document.get("data"), list):
            return self._row_by_row(channel, document)
        if channel in _TAGS:
            _FRAME.decode(frame)  # raises the error that names the fault
        if channel in _OTHERS:
            return [Alive()]
        return self.count_unknown(str(channel or sorted(document)))

    def _row_by_row(self, channel: str, document: dict[str, Any]) -> list[Event]:
        """The events of a frame with an invalid row: the other rows are used."""
        if channel == "trade":
            return self.each(document["data"], lambda row: self._trade(msgspec.convert(row, _Trade)))
        stamp = document.get("timestamp")
        stated = self._ms(stamp) if isinstance(stamp, str) else None
        return self.each(document["data"], lambda row: self._bar(msgspec.convert(row, _Bar), stated))

    def _answered(self, document: dict[str, Any]) -> list[Event]:
        """The venue sends one answer per symbol: ``success`` true with the subscription, or false with a text."""
        if document.get("method") == "pong":
            return [Alive()]
        result = document.get("result")
        result = result if isinstance(result, dict) else {}
        symbol = str(result.get("symbol") or document.get("symbol") or "")
        name = self.names.get(symbol)
        if not document.get("success", False):
            return [Notice("refused", shorten(f"{symbol} {document.get('error', 'no reason given')}".strip()), name)]
        if document.get("method") == "subscribe":
            return [Notice("subscribed", str(result.get("channel", "")), name)]
        return [Alive()]

    def place(self, kind: str, fields: dict[str, Any]) -> Place | None:
        """See FrameParser.place."""
        if kind == "ohlc" or "interval_begin" in fields:
            width = _WIDTHS.get(whole(fields.get("interval")) or 0, "")
            return Place(fields["symbol"], width, readable_ms(self._begin_ms, fields.get("interval_begin")))
        if kind not in ("", "trade"):
            return None
        stated = readable_ms(self._ms, fields.get("timestamp"))
        return Place(fields["symbol"], "", stated, whole(fields.get("trade_id")))

    def parts(self, document: object) -> list[tuple[str, dict[str, object]]]:
        """See FrameParser.parts."""
        if not isinstance(document, dict) or document.get("channel") not in ("trade", "ohlc"):
            return []
        rows = document.get("data")
        return [(document["channel"], row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


class KrakenStream(VenueStream):
    """Client of Kraken spot's streams; see StreamingVenue. Venue symbols may be those of REST or of WebSocket v1."""

    default_url = "wss://ws.kraken.com/v2"
    default_name = "kraken"
    #: The venue sends a heartbeat about every second when it sends nothing else.
    default_silence_limit = 5.0

    async def connect(self, plan: StreamPlan) -> WebSocketConnection:
        """Open a connection and subscribe. Raises StreamRefused."""
        socket = await self.opener.open(self.url)
        await self.opener.say(socket, _subscriptions(plan), pause=0.05)
        return self.connection(socket, KrakenFrames(plan.instruments))


def _subscriptions(plan: StreamPlan) -> list[object]:
    symbols = [stream_name(symbol) for _, symbol in plan.instruments]
    wanted: list[dict[str, object]] = []
    if plan.trades:
        wanted.append({"channel": "trade"})
    if plan.bars:
        wanted.append({"channel": "ohlc", "interval": 1})
    parts = [symbols[at : at + _SYMBOLS_A_MESSAGE] for at in range(0, len(symbols), _SYMBOLS_A_MESSAGE)]
    return [
        {"method": "subscribe", "params": {**params, "symbol": part, "snapshot": True}, "req_id": number}
        for number, (params, part) in enumerate(((params, part) for params in wanted for part in parts), start=1)
    ]


def _trade_id(trade: _Trade) -> int:
    return trade.trade_id
