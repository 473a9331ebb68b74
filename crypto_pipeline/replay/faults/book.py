"""The set faults of an exchange, and the choice of those that apply to a request."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.replay.clock import VirtualClock
from crypto_pipeline.replay.faults.script import Fault, MissingRange, WrongValues, applies_at
from crypto_pipeline.replay.market.prices import stream

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Call:
    """The parts of a request that faults match."""

    endpoint: str
    symbol: str | None = None
    timeframe: str | None = None


@dataclass(slots=True)
class Entry:
    """A set fault with the time of its setting and the number of its applications."""

    fault: Fault
    added: float
    struck: int = 0


class FaultBook:
    """The faults of one exchange. Random draws come from the exchange's seed, with one generator per fault."""

    def __init__(self, clock: VirtualClock, seed: int = 1) -> None:
        self.clock, self._seed = clock, seed
        self._entries: dict[int, Entry] = {}
        self._draws: dict[int, Any] = {}
        self._next_id = 1

    def add(self, faults: list[Fault]) -> list[int]:
        """Set faults and return their ids. Times in real seconds count from now."""
        ids = []
        for fault in faults:
            fault = fault.model_copy(update={"id": self._next_id})
            self._entries[fault.id] = Entry(fault, time.monotonic())
            self._draws[fault.id] = stream(self._seed, "fault", fault.id)
            ids.append(fault.id)
            self._next_id += 1
        return ids

    def clear(self, fault_id: int | None = None) -> int:
        """Remove one fault or all; return the number removed."""
        gone = [fault_id] if fault_id is not None else list(self._entries)
        return sum(self._entries.pop(one, None) is not None for one in gone)

    def show(self) -> list[dict[str, Any]]:
        """All faults with the number of their applications, and whether they are active."""
        return [
            {
                **entry.fault.model_dump(mode="json", by_alias=True, exclude_defaults=True),
                "id": entry.fault.id,
                "struck": entry.struck,
                "active": self._active(entry),
            }
            for entry in self._entries.values()
        ]

    @property
    def any(self) -> bool:
        """Whether any fault is set at all."""
        return bool(self._entries)

    def active(self, kinds: tuple[type, ...]) -> list[Entry]:
        """Active faults of these kinds, for any request."""
        return [
            entry for entry in list(self._entries.values()) if isinstance(entry.fault, kinds) and self._active(entry)
        ]

    def draw(self, entry: Entry) -> bool:
        """Whether the fault applies this time; an application is counted, and limited by the fault's ``count``."""
        if entry.fault.count is not None and entry.struck >= entry.fault.count:
            return False
        return self._draw(entry)

    def _active(self, entry: Entry) -> bool:
        if entry.fault.count is not None and entry.struck >= entry.fault.count:
            return False
        return applies_at(entry.fault, self.clock.now(), time.monotonic() - entry.added)

    def _matching(self, kind: type[Kind] | tuple[type[Kind], ...], call: Call) -> list[Entry]:
        return [
            entry
            for entry in self._entries.values()
            if isinstance(entry.fault, kind) and _matches(entry.fault, call) and self._active(entry)
        ]

    def _draw(self, entry: Entry) -> bool:
        if entry.fault.probability < 1 and self._draws[entry.fault.id].random() >= entry.fault.probability:
            return False
        entry.struck += 1
        return True

    def strikes(self, kind: type[Kind], call: Call, can: Callable[[Kind], bool] = lambda _: True) -> Kind | None:
        """The first fault of this kind that applies to the request, which is counted; None if there is none.

        ``can`` returns whether a fault could change this answer at all.
        """
        if not self._entries:
            return None
        for entry in self._matching(kind, call):
            fault = entry.fault
            if isinstance(fault, kind) and can(fault) and self._draw(entry):
                return fault
        return None

    def rows(self, call: Call) -> RowFaults:
        """The faults that may change rows of the answer to this request."""
        return RowFaults(self, self._matching((MissingRange, WrongValues), call) if self._entries else [])


def _matches(fault: Fault, call: Call) -> bool:
    if fault.endpoint is not None and call.endpoint not in fault.endpoint:
        return False
    if fault.symbol is not None and call.symbol not in fault.symbol:
        return False
    return fault.timeframe is None or call.timeframe is None or call.timeframe in fault.timeframe


@dataclass(slots=True)
class RowFaults:
    """Faults that hide or change rows of one request. Each is drawn once, when the request reaches the fault's span."""

    book: FaultBook
    entries: list[Entry]
    decided: dict[int, bool] = field(default_factory=dict)

    def touch(self, start: int, end: int) -> bool:
        """Whether a fault changes rows in [start, end) (Unix ms)."""
        # draw all of them: two faults may hide different parts of one answer
        struck = [self._struck(entry, start, end) for entry in self.entries]
        return any(struck)

    def _struck(self, entry: Entry, start: int, end: int) -> bool:
        assert isinstance(entry.fault, MissingRange | WrongValues)
        if unix_ms(entry.fault.start) >= end or unix_ms(entry.fault.end) <= start:
            return False
        if entry.fault.id not in self.decided:
            self.decided[entry.fault.id] = self.book._draw(entry)
        return self.decided[entry.fault.id]

    def _chosen(self) -> list[MissingRange | WrongValues]:
        struck = [entry.fault for entry in self.entries if self.decided.get(entry.fault.id)]
        return [fault for fault in struck if isinstance(fault, MissingRange | WrongValues)]

    def bars(self, bars: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
        """The BAR_TEXT frame without hidden bars (those entirely inside a missing span) and with wrong values."""
        for fault in self._chosen():
            opens, ends = pl.col("open_ms"), pl.col("open_ms") + timeframe.milliseconds
            inside = (opens >= unix_ms(fault.start)) & (ends <= unix_ms(fault.end))
            if isinstance(fault, MissingRange):
                bars = bars.filter(~inside)
            else:
                bars = bars.with_columns(
                    pl.when(inside).then(_scaled(name, fault.factor)).otherwise(pl.col(name)).alias(name)
                    for name in (*fault.columns, *(_WITHIN[name] for name in fault.columns if name in _WITHIN))
                )
        return bars

    def trades(self, trades: pl.DataFrame) -> pl.DataFrame:
        """The TRADE_TEXT frame without hidden trades."""
        for fault in self._chosen():
            if isinstance(fault, MissingRange):
                hidden = pl.col("time_ms").is_between(unix_ms(fault.start), unix_ms(fault.end), closed="left")
                trades = trades.filter(~hidden)
        return trades


#: Columns that change together: the takers' volume is a part of the volume.
_WITHIN = {"volume": "taker_volume", "quote_volume": "taker_quote"}


def _scaled(name: str, factor: float) -> pl.Expr:
    """A text column times ``factor`` as text with eight decimal places."""
    units = (pl.col(name).cast(pl.Float64) * factor * 100_000_000).round().cast(pl.Int64)
    whole = (units // 100_000_000).cast(pl.String)
    return pl.concat_str(whole, pl.lit("."), (units % 100_000_000).cast(pl.String).str.zfill(8))
