"""From what is stored to now: where each instrument must go on, so that a stop of any kind leaves no hole."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, Written
from crypto_pipeline.ingest.repair.rest_requests import moment
from crypto_pipeline.market.bars import Source
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

#: The venue's bars are taken for so much of a long absence; what lies before is for the monitors of gaps.
_LONGEST_MS = 86_400_000


@dataclass(slots=True)
class Start:
    """Where one instrument goes on: trades from ``since_ms``, and before that the venue's bars from ``bars_ms``."""

    symbol: str
    since_ms: int
    bars_ms: int | None = None
    #: stored copies of the minutes that may be written again
    written: dict[int, Written] = field(default_factory=dict)
    #: from here on every trade should be stored; None: from ``since_ms`` on
    whole_ms: int | None = None


def plan_recovery(store: Store, venue: str, symbols: list[str], now_ms: int, window_ms: int) -> list[Start]:
    """From the last stored trade on; further back where bars or ids are missing; by bars where it was long ago.

    ``window_ms`` is how far back trades are fetched: a liquid instrument has a million of them a day.
    """
    floor = now_ms - now_ms % MINUTE
    first = floor - window_ms - (floor - window_ms) % MINUTE
    last = {name: round(trade.time.timestamp() * 1000) for name, trade in store.trades.last_ids(venue, symbols).items()}
    recent = [name for name in symbols if last.get(name, 0) >= first]
    holes = store.trades.missing(venue, recent, moment(first), moment(now_ms)) if recent else None
    oldest = store.trades.first_times(venue, recent, moment(first)) if recent else {}
    bars = store.reader.read(symbols, Timeframe.M1, moment(first), moment(floor + MINUTE))
    copies: dict[str, dict[int, Written]] = {name: {} for name in symbols}
    for name, opened, complete, source in bars.select(
        "instrument", pl.col("open_time").to_physical(), "complete", "source"
    ).iter_rows():
        copies[name][opened] = Written(complete, source)
    starts = []
    for name in symbols:
        if name not in last:
            # the minute before is fetched too, so that the running one has a proven beginning
            starts.append(Start(name, floor - MINUTE, None, copies[name]))
        elif last[name] < first:
            since = max(last[name] - last[name] % MINUTE, floor - _LONGEST_MS)
            starts.append(Start(name, floor - MINUTE, since, copies[name]))
        else:
            # the first minute of all may have been entered in its middle
            whole = -(-round(oldest[name].timestamp() * 1000) // MINUTE) * MINUTE
            doubtful = [ms for ms in range(first, floor, MINUTE) if not _good(copies[name].get(ms), ms >= whole)]
            jumps = (
                holes.filter(pl.col("instrument") == name)["start"].to_physical().to_list() if holes is not None else []
            )
            since = min([last[name], *doubtful[:1], *jumps])
            since -= since % MINUTE
            starts.append(Start(name, since, None, copies[name], min(whole, since)))
    return starts


def _good(copy: Written | None, traded: bool) -> bool:
    """Where our trades should be, the venue's own bar stands in for ones that nobody could prove."""
    return copy is not None and copy.complete and not (traded and copy.source == Source.VENUE_HISTORICAL)
