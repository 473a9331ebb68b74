"""When the bar of a minute is written, what it is written from, and what it looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import polars as pl

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, Minute, Series
from crypto_pipeline.market.bars import BAR_SCHEMA, UTC_MS, Source
from crypto_pipeline.venues.stream_protocol import LiveBar


class Rules(Protocol):
    """What the decision depends on besides the minute itself."""

    now_ms: int
    settle_ms: int
    states_bars: bool


class Kind(Enum):
    """What a bar is written from."""

    PROVEN = "trades, none missing"
    PARTIAL = "trades, some may be missing"
    SILENT = "the venue's bar of a minute without trades"
    STATED = "the venue's bar, as trades are missing"


@dataclass(slots=True)
class Due:
    """A bar to write now; ``count`` and ``changed_ms`` tell later whether the minute has changed meanwhile."""

    series: Series
    minute: Minute
    kind: Kind
    source: Source
    count: int
    changed_ms: int


def decide(rules: Rules, series: Series, minute: Minute) -> Due | None:
    """What to write of a minute now; None: nothing yet."""
    settled = rules.now_ms >= minute.end_ms + rules.settle_ms
    if rules.now_ms < minute.end_ms and not (minute.stated or minute.sealed):
        newer = series.last is not None and series.last.time_ms >= minute.end_ms
        if not newer:
            return None
    kind = _kind(rules, series, minute, settled)
    if kind is None:
        return None
    source = Source.VENUE_HISTORICAL if kind is Kind.STATED else series.source(minute)
    if kind in (Kind.PARTIAL, Kind.STATED) and minute.written is not None:
        # a copy that is no worse is stored: nothing is won until more is known
        same = minute.written.trades == len(minute.trades) and minute.written.changed_ms == minute.changed_ms
        if minute.written.complete or (kind is Kind.PARTIAL and same):
            return None
    return Due(series, minute, kind, source, len(minute.trades), minute.changed_ms)


def _kind(rules: Rules, series: Series, minute: Minute, settled: bool) -> Kind | None:
    if series.proven(minute, trust_link=not rules.states_bars, settled=settled):
        return Kind.PROVEN
    stated = minute.stated
    if not minute.count:
        return Kind.SILENT if stated is not None and _empty(stated) else (Kind.STATED if settled and stated else None)
    if not settled:
        return None
    return Kind.STATED if stated is not None and not _empty(stated) else Kind.PARTIAL


def bars_of(dues: Sequence[Due]) -> pl.DataFrame:
    """The bars themselves (BAR_SCHEMA), digit for digit what ``market.bars_from_trades`` makes of the trades."""
    rows = [
        _of_trades(due) if due.kind in (Kind.PROVEN, Kind.PARTIAL) else _of_statement(due.minute.stated, due)
        for due in dues
    ]
    times = {"open_time": pl.Int64(), "revision": pl.Int64()}
    frame = pl.DataFrame(rows, schema={**BAR_SCHEMA, **times}, orient="row")
    return frame.with_columns(pl.col("open_time", "revision").cast(UTC_MS))


def _of_trades(due: Due) -> tuple[object, ...]:
    minute = due.minute
    minute.put_in_order()
    return (
        due.series.symbol,
        minute.open_ms,
        *(minute.open, minute.high, minute.low, minute.close),
        *(minute.volume, minute.quote, minute.taker, minute.count),
        str(due.source),
        due.kind is Kind.PROVEN,
        due.changed_ms,
    )


def _of_statement(bar: LiveBar | None, due: Due) -> tuple[object, ...]:
    assert bar is not None, "without a statement there is nothing to state"
    return (
        bar.instrument,
        bar.open_ms,
        *(bar.open, bar.high, bar.low, bar.close),
        *(bar.volume, bar.quote_volume, bar.taker_buy_volume, bar.trade_count),
        str(due.source),
        True,
        max(bar.open_ms + MINUTE, due.changed_ms),
    )


def _empty(bar: LiveBar) -> bool:
    return bar.volume == 0 and not bar.trade_count
