"""Kraken's WebSocket v1, for recorded sessions. Its trades have no ids, so they cannot be stored."""

from __future__ import annotations

import msgspec

from crypto_pipeline.market.sanity import MAX_MS, trade_fault
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.venues.client.frame_parser import FrameParser
from crypto_pipeline.venues.kraken.names import stream_name
from crypto_pipeline.venues.stream_protocol import Alive, Event, Notice

# [channelID, [["price","volume","time","b"|"s","m"|"l",""], …], "trade", "XBT/USD"]
_TRADES = msgspec.json.Decoder(tuple[int, list[tuple[float, float, float, str, str, str]], str, str], strict=False)


class _Said(msgspec.Struct, gc=False):
    event: str
    status: str = ""
    pair: str = ""
    channel: str = msgspec.field(name="channelName", default="")
    error: str = msgspec.field(name="errorMessage", default="")


_SAID = msgspec.json.Decoder(_Said)
#: Stands for the missing trade id.
NO_ID = -1


class KrakenV1Frames(FrameParser):
    """Parser of one recorded connection's frames."""

    def __init__(self, instruments: list[tuple[str, str]]) -> None:
        super().__init__([(name, stream_name(symbol)) for name, symbol in instruments])

    def read(self, frame: str | bytes) -> list[Event]:
        """See FrameParser.read."""
        if frame[:1] not in ("[", b"["):
            return self._said(_SAID.decode(frame))
        try:
            _, rows, channel, pair = _TRADES.decode(frame)
        except msgspec.ValidationError:
            return self._other_channel(msgspec.json.decode(frame))
        name = self.names.get(stream_name(pair))
        if name is None or channel != "trade":
            return self.count_unknown(f"{channel} of {pair}")
        return self.each(rows, lambda row: [self._trade(name, *row[:4])])

    def _trade(self, name: str, price: float, volume: float, seconds: float, side: str) -> LiveTrade:
        ms = round(seconds * 1_000_000) // 1000 if 0 <= seconds < MAX_MS else -1
        why = trade_fault(0, 0, 0, ms, price, volume)
        if why is not None or side not in ("b", "s"):
            raise ValueError(f"invalid trade: {why or 'its side is neither b nor s'}")
        self.trades += 1
        return LiveTrade(name, NO_ID, NO_ID, NO_ID, ms, price, volume, side == "b")

    def _other_channel(self, document: list[object]) -> list[Event]:
        # The channel of an order book: [id, {…}, "book-1000", "XBT/USD"], or with two objects of changes.
        if len(document) >= 4 and str(document[-2]).partition("-")[0] in ("book", "ticker", "ohlc", "spread"):
            return [Alive()]
        raise ValueError("an array that is not a message")

    def _said(self, said: _Said) -> list[Event]:
        if said.event in ("heartbeat", "pong"):
            return [Alive()]
        if said.event == "systemStatus":
            return [Notice("status", said.status)]
        if said.event == "subscriptionStatus":
            name = self.names.get(stream_name(said.pair)) if "/" in said.pair else None
            if said.status == "error":
                return [Notice("refused", said.error, name)]
            return [Notice("subscribed", said.channel, name)]
        return self.count_unknown(said.event)

    def parts(self, document: object) -> list[tuple[str, dict[str, object]]]:
        """Empty, because rows are arrays without field names."""
        return []
