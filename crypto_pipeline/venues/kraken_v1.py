"""Kraken's WebSocket v1, for sessions that were recorded with it. Trades have no ids there, so none can be stored."""

from __future__ import annotations

import msgspec

from crypto_pipeline.venues.kraken_names import stream_name
from crypto_pipeline.venues.streaming import Alive, Event, LiveTrade, Notice
from crypto_pipeline.venues.websocket import FrameParser

# [channelID, [["price","volume","time","b"|"s","m"|"l",""], …], "trade", "XBT/USD"]
_TRADES = msgspec.json.Decoder(tuple[int, list[tuple[float, float, float, str, str, str]], str, str], strict=False)
#: What stands in for the id.
NO_ID = -1


class KrakenV1Frames(FrameParser):
    """Frames of one recorded connection."""

    def __init__(self, instruments: list[tuple[str, str]]) -> None:
        super().__init__([(name, stream_name(symbol)) for name, symbol in instruments])

    def read(self, frame: str | bytes) -> list[Event]:
        """See FrameParser.read."""
        try:
            _, rows, channel, pair = _TRADES.decode(frame)
        except msgspec.ValidationError:
            return self._read_other(msgspec.json.decode(frame))
        name = self.names.get(stream_name(pair))
        if name is None or channel != "trade":
            return self.passed_over(f"{channel} of {pair}")
        self.trades += len(rows)
        return [
            LiveTrade(name, NO_ID, NO_ID, NO_ID, round(seconds * 1_000_000) // 1000, price, volume, side == "b")
            for price, volume, seconds, side, _, _ in rows
        ]

    def _read_other(self, document: object) -> list[Event]:
        if isinstance(document, list):
            # A book's channel: [id, {…}, "book-1000", "XBT/USD"], or with two objects of changes.
            if len(document) >= 4 and str(document[-2]).partition("-")[0] in ("book", "ticker", "ohlc", "spread"):
                return [Alive()]
            raise ValueError("an array that is no message")
        if not isinstance(document, dict):
            raise ValueError("not an object")
        event = document.get("event")
        if event in ("heartbeat", "pong"):
            return [Alive()]
        if event == "systemStatus":
            return [Notice("status", str(document.get("status", "")))]
        if event == "subscriptionStatus":
            pair = str(document.get("pair", ""))
            name = self.names.get(stream_name(pair)) if "/" in pair else None
            if document.get("status") == "error":
                return [Notice("refused", str(document.get("errorMessage", "")), name)]
            return [Notice("subscribed", str(document.get("channelName", "")), name)]
        return self.passed_over(str(event or sorted(document)))

    def parts(self, document: object) -> list[tuple[str, dict[str, object]]]:
        """Rows have places, not fields."""
        return []
