"""Base of the parsers of stream frames: frames become events and are counted. Each venue derives a parser."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from crypto_pipeline.market.sanity import MAX_AMOUNT, MAX_ID, MAX_MS, MAX_PRICE, trade_fault
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.venues.decoding import UNREADABLE, document, quoted
from crypto_pipeline.venues.protocol import RejectedRow, shorten
from crypto_pipeline.venues.stream_protocol import Alive, Event, Notice

log = logging.getLogger(__name__)
R = TypeVar("R")

#: All fields are inspected in this many first frames of a connection, then in every n-th frame.
_ALL_UNTIL, _ONE_IN = 64, 1021


@dataclass(frozen=True, slots=True)
class Place:
    """The trade or bar of an invalid row, as far as readable; ``timeframe`` is empty for a trade."""

    symbol: object
    timeframe: str = ""
    ms: int | None = None
    trade_id: int | None = None
    closed: bool = False
    #: the row, where it is a small part of the frame
    said: str = ""


class FrameParser:
    """Turns frames into events, and counts them. A venue adds ``read``, which raises msgspec.MsgspecError or ValueError
    for an invalid frame."""

    #: Fields of the message types that ``read`` uses, by type.
    known_fields: Mapping[str, frozenset[str]] = {}

    def __init__(self, instruments: Sequence[tuple[str, str]]) -> None:
        #: Canonical name by venue symbol.
        self.names = {symbol: name for name, symbol in instruments}
        self.frames = self.trades = self.bars = self.unknown = self.malformed = self.fields = 0
        #: New fields, which ``known_fields`` lacks, as ``type.field``.
        self.unknown_fields: set[str] = set()
        self._look_at = 1

    @property
    def counters(self) -> dict[str, int]:
        """Numbers of received frames, trades, bars and faults, by name."""
        return {name: getattr(self, name) for name in ("frames", "trades", "bars", "unknown", "malformed", "fields")}

    def parse(self, frame: str | bytes) -> list[Event]:
        """The events of one frame, in the venue's order. An invalid frame becomes a Notice; nothing is raised."""
        self.frames += 1
        try:
            events = self.read(frame)
        except UNREADABLE as error:
            return [self._malformed(error, frame)]
        if self.frames >= self._look_at:
            self._look_at += 1 if self.frames < _ALL_UNTIL else _ONE_IN
            try:
                self._sample_fields(frame)
            except UNREADABLE as error:
                log.debug("cannot inspect the fields of a frame: %s", error)
        return events

    def single_trade(
        self, what: str, symbol: str, trade_id: int, ms: int, price: float, quantity: float, taker_buy: bool | None
    ) -> list[Event]:
        """The event of an individual trade. ``what`` is the venue's word for it; ``taker_buy`` None: unreadable side.

        ``ms`` is its time in Unix ms. Raises ValueError that names the rule an invalid trade breaks.
        """
        name = self.names.get(symbol)
        if name is None:
            return self.count_unknown(f"{what} of {symbol}, which was not subscribed to")
        if taker_buy is None or not (0.0 < price <= MAX_PRICE and 0.0 < quantity <= MAX_AMOUNT):
            fault = trade_fault(1, 1, 1, 1, price, quantity)
            raise ValueError(f"invalid {what}: {fault or 'its side is neither buy nor sell'}")
        if not (0 < trade_id <= MAX_ID and 0 < ms <= MAX_MS):
            raise ValueError(f"invalid {what}: its id or its time is out of range")
        self.trades += 1
        return [LiveTrade(name, trade_id, trade_id, trade_id, ms, price, quantity, taker_buy)]

    def each(self, rows: Iterable[R], read: Callable[[R], list[Event]]) -> list[Event]:
        """The events of the rows of one frame. An invalid row is counted and becomes a Notice."""
        events: list[Event] = []
        for row in rows:
            try:
                events += read(row)
            except UNREADABLE as error:
                events.append(self._malformed(error, row))
        return events or [Alive()]

    def _malformed(self, error: BaseException, what: object) -> Notice:
        self.malformed += 1
        why, said = shorten(str(error)), quoted(what)
        text = f"malformed ({why}): {said}"
        try:
            place = self._place(what)
        except UNREADABLE:
            place = None
        name = self.names.get(place.symbol) if place is not None and isinstance(place.symbol, str) else None
        if place is None or name is None:
            return Notice("unknown", text)
        ms = place.ms if place.ms is not None and 0 < place.ms < MAX_MS else None
        trade_id = place.trade_id if place.trade_id is not None and 0 <= place.trade_id <= MAX_ID else None
        refused = RejectedRow(ms, why, shorten(place.said or said), trade_id)
        return Notice("unknown", text, name, refused, place.timeframe, place.closed)

    def _place(self, what: object) -> Place | None:
        if isinstance(what, str | bytes):
            parts = self.parts(document(what))
            return self.place(*parts[0]) if parts else None
        fields = msgspec.to_builtins(what)
        return self.place("", fields) if isinstance(fields, dict) else None

    def place(self, kind: str, fields: dict[str, Any]) -> Place | None:
        """The trade or bar of a message of type ``kind`` (empty: a row of a frame). Raises the errors in UNREADABLE."""
        return None

    def read(self, frame: str | bytes) -> list[Event]:
        """The events of one frame."""
        raise NotImplementedError

    def parts(self, document: object) -> list[tuple[str, dict[str, object]]]:
        """(type, fields) of the messages in a decoded frame, for the search for new fields."""
        raise NotImplementedError

    def count_unknown(self, what: str) -> list[Event]:
        """Count a frame of an unknown type, and return a Notice of it."""
        self.unknown += 1
        return [Notice("unknown", what[:300])]

    def _sample_fields(self, frame: str | bytes) -> None:
        for kind, fields in self.parts(msgspec.json.decode(frame)):
            known = self.known_fields.get(kind)
            if known is None or fields.keys() <= known:
                continue
            self.fields += 1
            for field in sorted(fields.keys() - known):
                if f"{kind}.{field}" not in self.unknown_fields:
                    self.unknown_fields.add(f"{kind}.{field}")
                    log.info("the stream has a new field: %s.%s", kind, field)


class Parser(Protocol):
    """The interface of a parser that a connection uses."""

    @property
    def counters(self) -> dict[str, int]:
        """Numbers of received frames, trades, bars and faults, by name."""

    def parse(self, frame: str | bytes) -> list[Event]:
        """The events of one frame."""


def fields_of(names: str) -> frozenset[str]:
    """Field names separated by spaces, as a set for ``known_fields``."""
    return frozenset(names.split())
