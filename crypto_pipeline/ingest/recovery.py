"""From what is stored to now: where each instrument must continue, so that no stop of any kind leaves a hole."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import polars as pl

from crypto_pipeline.ingest.aggregation.minute_state import MINUTE, Written
from crypto_pipeline.market.bars import BarOrigin
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import from_unix_ms, unix_ms
from crypto_pipeline.store import Store

#: Of a longer absence only this much is fetched here as bars; older gaps are found by the gap monitors. Milliseconds.
_LONGEST_MS = 86_400_000


@dataclass(slots=True)
class Start:
    """Where one instrument continues: trades from ``since_ms``, and before that the venue's bars from ``bars_ms``."""

    symbol: str
    since_ms: int
    bars_ms: int | None = None
    #: stored copies of the minutes that may be written again
    written: dict[int, Written] = field(default_factory=dict)
    #: from here on every trade should be stored; None: from ``since_ms`` on
    whole_ms: int | None = None


class CatchUp:
    """The instruments that have not caught up with the venue yet. Use from one event loop."""

    def __init__(self) -> None:
        #: venue time up to which each must be fetched
        self._until: dict[str, int] = {}
        #: those that the venue fails for: the others do not wait for them
        self._excused: set[str] = set()
        self._done = asyncio.Event()

    def begin(self, symbols: list[str], now_ms: int) -> None:
        """All of ``symbols`` have to be fetched up to ``now_ms``."""
        self._until = dict.fromkeys(symbols, now_ms)
        self._check()

    @property
    def running(self) -> bool:
        """Whether an instrument that the venue answers for has not caught up yet."""
        return not self._excused.issuperset(self._until)

    async def wait(self) -> None:
        """Wait until every instrument that the venue answers for has caught up."""
        await self._done.wait()

    def is_completed_by(self, symbol: str, end_ms: int) -> bool:
        """Whether an answer up to ``end_ms`` completes the instrument."""
        return self._until.get(symbol, end_ms) < end_ms

    def excuse(self, symbol: str) -> None:
        """Do not wait for this instrument any more; it catches up when the venue answers for it."""
        if symbol in self._until:
            self._excused.add(symbol)
            self._check()

    def complete(self, symbol: str) -> None:
        """Nothing of this instrument is left to fetch."""
        if self._until.pop(symbol, None) is not None:
            self._check()

    def _check(self) -> None:
        if not self.running:
            self._done.set()


def plan_recovery(store: Store, venue: str, symbols: list[str], now_ms: int, window_ms: int) -> list[Start]:
    """Where each instrument continues: at its last stored trade, or earlier where bars or trade ids are missing.

    An instrument whose last trade is older than ``window_ms`` gets the venue's bars instead: a liquid one has a million
    trades a day. Times are Unix milliseconds of the venue's clock. Reads the store; raises StoreError.
    """
    floor = now_ms - now_ms % MINUTE
    first = floor - window_ms - (floor - window_ms) % MINUTE
    last = {name: unix_ms(trade.time) for name, trade in store.trades.last_ids(venue, symbols).items()}
    recent = [name for name in symbols if last.get(name, 0) >= first]
    span = from_unix_ms(first), from_unix_ms(now_ms)
    jumps: dict[str, list[int]] = {}
    if recent:
        missing = store.trades.missing(venue, recent, *span).select("instrument", pl.col("start").to_physical())
        for name, start in missing.iter_rows():
            jumps.setdefault(name, []).append(start)
    oldest = store.trades.first_times(venue, recent, span[0]) if recent else {}
    bars = store.reader.read(symbols, Timeframe.M1, span[0], from_unix_ms(floor + MINUTE))
    copies: dict[str, dict[int, Written]] = {name: {} for name in symbols}
    columns = "instrument", pl.col("open_time").to_physical(), "complete", "source"
    for name, opened, complete, source in bars.select(columns).iter_rows():
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
            whole = -(-unix_ms(oldest[name]) // MINUTE) * MINUTE
            doubtful = [ms for ms in range(first, floor, MINUTE) if not _good(copies[name].get(ms), ms >= whole)]
            since = min([last[name], *doubtful[:1], *jumps.get(name, [])])
            since -= since % MINUTE
            starts.append(Start(name, since, None, copies[name], min(whole, since)))
    return starts


def _good(copy: Written | None, traded: bool) -> bool:
    """Whether a stored copy needs no repair. Where our own trades should be, the venue's bar is only a stand-in."""
    return copy is not None and copy.complete and not (traded and copy.source == BarOrigin.VENUE_HISTORICAL)
