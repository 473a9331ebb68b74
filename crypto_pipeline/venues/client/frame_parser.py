"""Frames of a stream made into events and counted. Each venue has a parser of its own, built on this one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from crypto_pipeline.market.sanity import MAX_AMOUNT, MAX_ID, MAX_MS, MAX_PRICE
from crypto_pipeline.market.trades.live_trade import LiveTrade
from crypto_pipeline.venues.decoding import UNREADABLE, document, quoted
from crypto_pipeline.venues.protocol import RejectedRow, shorten
from crypto_pipeline.venues.stream_protocol import Alive, Event, Notice

log = logging.getLogger(__name__)
R = TypeVar("R")

#: Frames of one connection whose fields are all looked at: the first ones, then one in so many.
_ALL_UNTIL, _ONE_IN = 64, 1021


@dataclass(frozen=True, slots=True)
class Place:
    """Which trade or bar an invalid row is about, as far as it can be read; ``timeframe`` is empty for a trade."""

    symbol: object
    timeframe: str = ""
    ms: int | None = None
    trade_id: int | None = None
    closed: bool = False
    #: what was said, where the row is a small part of what came
    said: str = ""


class FrameParser:
    """Makes events of frames, and counts them. A venue adds ``read``, which raises msgspec.MsgspecError or ValueError
    for an invalid frame."""

    #: Fields of a message by its type, for those types that ``read`` makes events of.
    known_fields: Mapping[str, frozenset[str]] = {}

    def __init__(self, instruments: Sequence[tuple[str, str]]) -> None:
        #: Canonical name by venue symbol.
        self.names = {symbol: name for name, symbol in instruments}
        self.frames = self.trades = self.bars = self.unknown = self.malformed = self.fields = 0
        #: Fields that came and are in no list of ours, as ``type.field``.
        self.unknown_fields: set[str] = set()
        self._look_at = 1

    @property
    def counters(self) -> dict[str, int]:
        """How many frames, trades, bars and faults came so far, by name."""
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
                log.debug("the fields of a frame cannot be looked at: %s", error)
        return events

    def single_trade(
        self, what: str, symbol: str, trade_id: int, ms: int, price: float, quantity: float, taker_buy: bool | None
    ) -> list[Event]:
        """The event of a trade that is no aggregate, ``what`` as the venue calls it; ``taker_buy`` None: not readable.

        Raises ValueError for a trade that cannot be.
        """
        name = self.names.get(symbol)
        if name is None:
            return self.count_unknown(f"{what} of {symbol}, which was not subscribed to")
        if taker_buy is None or not (0.0 < price <= MAX_PRICE and 0.0 < quantity <= MAX_AMOUNT):
            raise ValueError(f"a {what} that cannot be")
        if not (0 < trade_id <= MAX_ID and 0 < ms <= MAX_MS):
            raise ValueError(f"a {what} without an id or a time")
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
        """Which trade or bar a message of this type (empty: a row of a frame) is about. Raises errors of UNREADABLE."""
        return None

    def read(self, frame: str | bytes) -> list[Event]:
        """The events of one frame."""
        raise NotImplementedError

    def parts(self, document: object) -> list[tuple[str, dict[str, object]]]:
        """(type, fields) of the messages in a decoded frame, to look for fields that are new."""
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
                    log.info("the stream has a field that is new: %s.%s", kind, field)


class Parser(Protocol):
    """The part of a parser that a connection uses."""

    @property
    def counters(self) -> dict[str, int]:
        """How many frames, trades, bars and faults came so far, by name."""

    def parse(self, frame: str | bytes) -> list[Event]:
        """The events of one frame."""


def fields_of(names: str) -> frozenset[str]:
    """Field names of one text, for ``known_fields``."""
    return frozenset(names.split())
