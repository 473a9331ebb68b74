"""Stream messages as bytes: JSON as Binance writes it, in WebSocket frames that are made once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

#: One aggregate trade: id, price, quantity, first id, last id, time (Unix ms), buyer is maker.
TradeRow = tuple[int, str, str, int, int, int, bool]
StreamKind = Literal["aggTrade", "trade", "kline_1m"]
PLACES = 100_000_000


def text_frame(payload: bytes) -> bytes:
    """One unmasked text frame, as a server sends it."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


def ping_frame(payload: bytes) -> bytes:
    """A ping with a payload of at most 125 bytes."""
    return bytes((0x89, len(payload))) + payload


def wrapped(stream: str, body: str) -> str:
    """The message in the form of combined streams."""
    return f'{{"stream":"{stream}","data":{body}}}'


class FrameBatch:
    """Messages of one stream that are sent together; each is framed at most once per form, for all connections."""

    __slots__ = ("_joined", "bodies", "kind", "stream", "symbol")

    def __init__(self, stream: str, symbol: str, kind: StreamKind, bodies: list[str]) -> None:
        self.stream, self.symbol, self.kind, self.bodies = stream, symbol, kind, bodies
        self._joined: dict[bool, bytes] = {}

    def payload(self, body: str, combined: bool) -> bytes:
        """One message without its frame."""
        return (wrapped(self.stream, body) if combined else body).encode()

    def joined(self, combined: bool) -> bytes:
        """All frames one after another."""
        made = self._joined.get(combined)
        if made is None:
            made = b"".join([text_frame(self.payload(body, combined)) for body in self.bodies])
            self._joined[combined] = made
        return made


def aggregate_trades(symbol: str, rows: Sequence[TradeRow]) -> list[str]:
    """``@aggTrade`` messages. The event time is 1 ms after the trade, as most often on the real venue."""
    return [
        f'{{"e":"aggTrade","E":{ms + 1},"s":"{symbol}","a":{number},"p":"{price}","q":"{quantity}",'
        f'"f":{first},"l":{last},"T":{ms},"m":{"true" if maker else "false"},"M":true}}'
        for number, price, quantity, first, last, ms, maker in rows
    ]


def single_trades(symbol: str, rows: Iterable[TradeRow], step_decimals: int) -> list[str]:
    """``@trade`` messages: an aggregate's quantity split over its ids in whole steps, the rest on the last."""
    bodies = []
    for _, price, quantity, first, last, ms, maker in rows:
        step = 10 ** (8 - step_decimals)
        whole, count = to_units(quantity), last - first + 1
        share = whole // count // step * step
        for number in range(first, last + 1):
            part = share if number < last else whole - share * (count - 1)
            bodies.append(
                f'{{"e":"trade","E":{ms + 1},"s":"{symbol}","t":{number},"p":"{price}","q":"{from_units(part)}",'
                f'"T":{ms},"m":{"true" if maker else "false"},"M":true}}'
            )
    return bodies


def kline(symbol: str, event_ms: int, open_ms: int, ids: tuple[int, int], closed: bool, values: KlineValues) -> str:
    """A ``@kline_1m`` message. ``ids`` are the first and last trade id, (-1, -1) without trades."""
    open_, high, low, close, volume, quote, trades, taker, taker_quote = values
    return (
        f'{{"e":"kline","E":{event_ms},"s":"{symbol}","k":{{"t":{open_ms},"T":{open_ms + 59_999},"s":"{symbol}",'
        f'"i":"1m","f":{ids[0]},"L":{ids[1]},"o":"{open_}","c":"{close}","h":"{high}","l":"{low}","v":"{volume}",'
        f'"n":{trades},"x":{"true" if closed else "false"},"q":"{quote}","V":"{taker}","Q":"{taker_quote}","B":"0"}}}}'
    )


#: Open, high, low, close, volume, quote volume, trades, taker-buy volume, taker-buy quote volume.
KlineValues = tuple[str, str, str, str, str, str, int, str, str]


def to_units(text: str) -> int:
    """Decimal text in whole units of 10^-8."""
    whole, _, part = text.partition(".")
    return int(whole + part[:8].ljust(8, "0"))


def from_units(count: int) -> str:
    """Units of 10^-8 as text with eight decimal places."""
    return f"{count // PLACES}.{count % PLACES:08d}"
