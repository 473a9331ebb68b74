"""What one pass of healing works with: the parts of healing take it instead of a row of arguments."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import polars as pl

from crypto_pipeline.healing.failover import Failover
from crypto_pipeline.healing.plan import Horizon
from crypto_pipeline.healing.reports import Counts, HealReport, Progress, silent
from crypto_pipeline.market.bars import BarOrigin
from crypto_pipeline.market.calendars import ALWAYS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues import Venue


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePass:
    """One pass over the stored bars of some instruments.

    ``instruments`` is a frame with ``instrument``, ``venue_symbol``, ``listed``, ``delisted``, ``status``,
    ``calendar`` and ``first_bars``, as ``store.instruments.frame`` gives it; ``venue_symbol`` is null for an instrument
    that the venue does not list.
    """

    store: Store
    horizon: Horizon
    instruments: pl.DataFrame
    progress: Progress = silent

    @property
    def names(self) -> list[str]:
        """Names of the instruments."""
        return self.instruments["instrument"].to_list()

    @property
    def calendars(self) -> dict[str, str]:
        """The calendar of each instrument that does not trade always."""
        if "calendar" not in self.instruments.columns:
            return {}
        rows = self.instruments.select("instrument", "calendar").drop_nulls().iter_rows()
        return {name: calendar for name, calendar in rows if calendar != ALWAYS.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingPass(StorePass):
    """One pass that asks the venue, or a venue that stands in for it."""

    venue: Venue
    settings: Settings
    failover: Failover

    @property
    def venue_symbols(self) -> dict[str, str | None]:
        """The venue's symbol of each instrument; None where the venue does not list it."""
        return dict(self.instruments.select("instrument", "venue_symbol").iter_rows())


@dataclass(frozen=True, slots=True)
class FillMode:
    """How holes are filled."""

    #: 1m bars are made from stored trades that prove them, before the venue is asked
    from_trades: bool = False
    #: source of the venue's 1m bars, if not the one that the venue's client gives them
    mark: BarOrigin | None = None
    #: only these spans (``instrument``, ``start``, ``end``) of 1m; None: whatever is missing
    only: pl.DataFrame | None = None
    #: also holes whose next attempt lies ahead
    ask_now: bool = False


#: Whatever is missing and due.
HISTORY = FillMode()
#: A span that a person named: also holes that are not due yet.
NAMED = FillMode(ask_now=True)
#: The live processor: minutes of which all trades are stored are not requested.
LIVE = FillMode(from_trades=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FillPass(HealingPass):
    """One pass that fills what is missing. ``report`` collects what was done."""

    mode: FillMode = HISTORY
    report: HealReport = field(default_factory=HealReport)

    def counts(self, timeframe: Timeframe) -> Counts:
        """The counts of one timeframe in the report."""
        return self.report.of(timeframe)

    def in_mode(self, mode: FillMode) -> FillPass:
        """The same pass in another mode."""
        return replace(self, mode=mode)
