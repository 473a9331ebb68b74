"""The bars that scans rest on, read so that a scan has the same values whenever it is made.

Indicators are computed over a panel that begins at a fixed distance before the week (Monday 00:00 UTC) of the bar that
is scanned. So the bars of a week are computed from the same first bar on, in a live pass and in a span of the past, and
their values are equal to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from crypto_pipeline.arrays.grid import take
from crypto_pipeline.arrays.panel import Floats, Panel
from crypto_pipeline.features.definitions import regimes
from crypto_pipeline.labels.compute import SetupContext
from crypto_pipeline.labels.stored.inputs import look_back
from crypto_pipeline.labels.stored.update import BAR_COLUMNS
from crypto_pipeline.labels.strategies.base import TIMEFRAME, Parameters
from crypto_pipeline.labels.strategies.dca import halts
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.lake.reads.bars import long_reads
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.trading.scanning.scan import MarketBars

#: Days of 4h bars behind a regime, and some of slack.
_TREND_DAYS = 40


def monday(moment: datetime) -> datetime:
    """The Monday 00:00 UTC at or before ``moment``."""
    return Timeframe.W1.floor(moment)


@dataclass(frozen=True, slots=True)
class ScanBars:
    """Bars of all scanned instruments, from before the week of the first bar that is scanned.

    Attributes:
        tiers: By instrument, in the order of the panels.
        panel: 15m bars.
        hours: 1h bars over the same time.
        benchmark: Closes of the benchmark's 15m bars over the same time; None where it is not collected.
        trend: Its trend on the last closed 4h bar, per 15m bar (see ``features``); NaN: not known.
        four: Its place among the instruments and its 4h bars; None where it is not one of them.
    """

    tiers: Mapping[str, str]
    panel: Panel
    hours: Panel
    benchmark: Floats | None
    trend: Floats
    four: tuple[int, Panel] | None = None

    def place(self, moment: datetime) -> int:
        """The place of the 15m bar that opens at ``moment``."""
        return self.panel.grid.row_from(moment)

    def before(self, parameters: Parameters, moment: datetime, until: datetime) -> ScanBars:
        """The bars that scans of ``[moment, until)`` are computed from; both times are in one week."""
        first = self.place(monday(moment) - timedelta(days=look_back(parameters)))
        last = self.place(until)
        return ScanBars(
            self.tiers,
            self.panel.part(first, last),
            self.hours.part(first // 4, last // 4),
            None if self.benchmark is None else self.benchmark[first:last],
            self.trend[first:last],
        )

    def context(self, strategy: Strategy) -> SetupContext:
        """What setups look at beside their own 15m bars."""
        uses = strategy.definition
        known = uses.uses_benchmark and self.benchmark is not None
        halted = halts(self.benchmark) if known and self.benchmark is not None else np.ones(1, np.bool_)
        return SetupContext(halted, self.hours if uses.uses_hours else None)

    @property
    def market(self) -> MarketBars:
        """Regime and stress per 15m bar."""
        if self.benchmark is None:
            return MarketBars.unknown(self.panel.width)
        return MarketBars(regimes.regime_of(self.benchmark, self.trend), regimes.stress_of(self.benchmark))


#: Reads bars of some instruments that open in a span, with BAR_COLUMNS.
ReadBars = Callable[[Sequence[str], Timeframe, datetime, datetime], pl.DataFrame]


def plain_reader(store: Store, as_of: datetime | None = None) -> ReadBars:
    """Reads from the store; ``as_of``: only what was known then."""

    def read(names: Sequence[str], timeframe: Timeframe, start: datetime, end: datetime) -> pl.DataFrame:
        return long_reads(store).read(names, timeframe, start, end, columns=BAR_COLUMNS, as_of=as_of)

    return read


def read_scan_bars(
    read_bars: ReadBars,
    tiers: Mapping[str, str],
    parameters: Sequence[Parameters],
    start: datetime,
    end: datetime,
    benchmark: str | None,
) -> ScanBars:
    """Read what scans of ``[start, end)`` rest on. Raises StoreError."""
    begin = monday(start) - timedelta(days=max(map(look_back, parameters)))

    def read(names: Sequence[str], timeframe: Timeframe, first: datetime) -> Panel:
        return Panel.from_bars(read_bars(names, timeframe, first, end), names, first, end, timeframe)

    panel, hours = read(list(tiers), TIMEFRAME, begin), read(list(tiers), Timeframe.H1, begin)
    trend = np.full(panel.width, np.nan)
    if benchmark is None:
        return ScanBars(tiers, panel, hours, None, trend)
    four = read([benchmark], Timeframe.H4, begin - timedelta(days=_TREND_DAYS))
    trend = take(regimes.trend_of(four.close), panel.grid.closed_at(four.grid, 0))[0]
    own = list(tiers).index(benchmark) if benchmark in tiers else None
    close = read([benchmark], TIMEFRAME, begin).close[0] if own is None else panel.close[own]
    return ScanBars(tiers, panel, hours, close, trend, None if own is None else (own, four))
