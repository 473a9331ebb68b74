"""When the bar of a minute is written, what it is written from, and what it looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import polars as pl

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, InstrumentStream, Minute
from crypto_pipeline.market.bars import BAR_SCHEMA, BarOrigin, as_bars
from crypto_pipeline.venues.stream_protocol import LiveBar


class DecisionInputs(Protocol):
    """What the decision depends on besides the minute itself."""

    #: venue time, Unix milliseconds
    now_ms: int
    #: a minute has settled so long after its end. Milliseconds.
    settle_ms: int
    #: whether the venue states 1m bars of its own
    states_bars: bool


class Basis(Enum):
    """What a bar is written from."""

    PROVEN = "trades, none missing"
    PARTIAL = "trades, some may be missing"
    SILENT = "the venue's bar of a minute without trades"
    STATED = "the venue's bar, as trades are missing"


@dataclass(slots=True)
class BarToWrite:
    """A bar to write now; ``count`` and ``changed_ms`` show later whether the minute has changed meanwhile."""

    stream: InstrumentStream
    minute: Minute
    basis: Basis
    source: BarOrigin
    count: int
    changed_ms: int


def decide(inputs: DecisionInputs, stream: InstrumentStream, minute: Minute) -> BarToWrite | None:
    """The bar to write of a minute now; None: none yet."""
    settled = inputs.now_ms >= minute.end_ms + inputs.settle_ms
    if inputs.now_ms < minute.end_ms and not (minute.stated or minute.stated_by_rest):
        newer = stream.last is not None and stream.last.time_ms >= minute.end_ms
        if not newer:
            return None
    basis = _basis(inputs, stream, minute, settled)
    if basis is None:
        return None
    source = BarOrigin.VENUE_HISTORICAL if basis is Basis.STATED else stream.source(minute)
    if basis in (Basis.PARTIAL, Basis.STATED) and minute.written is not None:
        # the stored copy is no worse: wait until more is known
        same = minute.written.trades == len(minute.trades) and minute.written.changed_ms == minute.changed_ms
        if minute.written.complete or (basis is Basis.PARTIAL and same):
            return None
    return BarToWrite(stream, minute, basis, source, len(minute.trades), minute.changed_ms)


def _basis(inputs: DecisionInputs, stream: InstrumentStream, minute: Minute, settled: bool) -> Basis | None:
    if stream.proven(minute, trust_link=not inputs.states_bars, settled=settled):
        return Basis.PROVEN
    stated = minute.stated
    if not minute.count:
        return Basis.SILENT if stated is not None and _empty(stated) else (Basis.STATED if settled and stated else None)
    if not settled:
        return None
    return Basis.STATED if stated is not None and not _empty(stated) else Basis.PARTIAL


def bars_frame(bars: Sequence[BarToWrite]) -> pl.DataFrame:
    """The bars as a frame (BAR_SCHEMA), equal to what ``market.bars_from_trades`` makes of the trades."""
    of_trades = (Basis.PROVEN, Basis.PARTIAL)
    rows = [_row_of_trades(bar) if bar.basis in of_trades else _row_of_statement(bar) for bar in bars]
    times = {"open_time": pl.Int64(), "revision": pl.Int64()}
    return as_bars(pl.DataFrame(rows, schema={name: times.get(name, BAR_SCHEMA[name]) for name in _ROW}, orient="row"))


#: What the rows of the two functions below hold; other columns are null.
_ROW = (
    "instrument", "open_time", "open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume",
    "trade_count", "source", "complete", "revision",
)  # fmt: skip


def _row_of_trades(bar: BarToWrite) -> tuple[object, ...]:
    minute = bar.minute
    minute.put_in_order()
    return (
        bar.stream.symbol,
        minute.open_ms,
        *(minute.open, minute.high, minute.low, minute.close),
        *(minute.volume, minute.quote, minute.taker, minute.count),
        str(bar.source),
        bar.basis is Basis.PROVEN,
        bar.changed_ms,
    )


def _row_of_statement(bar: BarToWrite) -> tuple[object, ...]:
    stated = bar.minute.stated
    assert stated is not None, "a bar of the venue's statement needs the statement"
    return (
        stated.instrument,
        stated.open_ms,
        *(stated.open, stated.high, stated.low, stated.close),
        *(stated.volume, stated.quote_volume, stated.taker_buy_volume, stated.trade_count),
        str(bar.source),
        True,
        max(stated.open_ms + MINUTE, bar.changed_ms),
    )


def _empty(bar: LiveBar) -> bool:
    return bar.volume == 0 and not bar.trade_count
