"""``Source``: one YAML entry that stands for a venue, and ``CollectedSources`` for every venue that settings name."""

from collections.abc import Mapping, Sequence
from functools import partial

import dagster as dg
from pydantic import Field

from crypto_pipeline.defs.bars import source as bar_source
from crypto_pipeline.defs.base.subjects import VenueLooks
from crypto_pipeline.defs.macro.assets import FRED
from crypto_pipeline.defs.macro.schedules import macro_definitions
from crypto_pipeline.defs.sources.checks import check_job, look_at, look_at_fred, source_checks
from crypto_pipeline.defs.sources.sync import history_job, price_job, source_schedule
from crypto_pipeline.defs.sources.venue_asset import Role, is_streamed, venue_asset
from crypto_pipeline.settings import load_settings
from crypto_pipeline.venues import collected_venues, stand_in_names, venue_entry

_CHECKED, _SYNCED = "7-59/15 * * * *", "10 */3 * * *"
_ABOUT_PRICES = "Every 15 minutes: stores the newest prices of {}, whether or not anyone reads them."
_ABOUT_HISTORY = "Every 3 hours: moves what is known of {} into history, then heals every series that lags behind."
_ABOUT_CHECKS = "Every 15 minutes: checks whether {} answers, and whether its series are fresh."


class Source(dg.Component, dg.Model, dg.Resolvable):
    """A venue, or FRED: its external asset with checks of connection and freshness, its price updates where nothing
    streams, and its historical sync. With ``bars`` also the bars that come from it.

    The asset is `venues/<venue>`; jobs and schedules are `historical_sync_<venue>`, `price_update_<venue>` and
    `check_<venue>`. Bars that the universe file names need no ``bars`` here: they are made for all venues together.
    From FRED come `macro_observations` with their checks, where the setting macro_series names series; its jobs and
    schedules are `update_macro`, `macro_every_six_hours`, `macro_due` and `check_fred`.
    """

    venue: str = Field(description="Name of the venue: one that `venues/names.txt` lists, or fred.")
    description: str | None = Field(default=None, description="Text of the asset. Default: what the venue is used for.")
    documentation: str | None = Field(default=None, description="Address of the venue's own documentation.")
    owners: Sequence[str] = Field(default=[], description="Owners of the asset. Default: team:market-data.")
    tags: Mapping[str, str] = Field(default={}, description="Tags of the asset besides the usual ones.")
    kinds: Sequence[str] = Field(default=[], description="Kinds of the asset besides `api`.")
    prices_cron: str = Field(default="*/15 * * * *", description="When prices are updated, if nothing streams (UTC).")
    sync_cron: str | None = Field(
        default=None, description="When the historical sync runs (UTC). Default: 10 */3 * * *; of FRED 40 */6 * * *."
    )
    bars: bar_source.BarSource | None = Field(
        default=None, description="Bars that come from the venue, with a name of their own."
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Everything that follows from the entry. Raises ValueError for a venue that does not exist."""
        if self.venue == FRED:
            if self.bars is not None:
                raise ValueError(f"source {FRED}: it has macro series and no bars; remove the field bars")
            return fred_definitions(self)
        venue_entry(self.venue)
        made = source_definitions(self, "first")
        if self.bars is None:
            return made
        if self.bars.venue not in (None, self.venue):
            raise ValueError(f"source {self.venue}: its bars cannot come from {self.bars.venue}")
        bars = self.bars.model_copy(update={"venue": self.venue})
        return dg.Definitions.merge(made, bars.build_defs(context))


class CollectedSources(dg.Component, dg.Model, dg.Resolvable):
    """A ``Source`` for each venue that the settings and the universe file name, also for those that stand in, and for
    FRED where macro series are collected.

    One that has an entry of its own is left to that.
    """

    documentation: Mapping[str, str] = Field(
        default={}, description="Addresses of the documentation of venues, by their names."
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Everything that follows from the settings. Raises SettingsError."""
        settings = load_settings()
        collected = collected_venues(settings)
        described = {one.venue for one in context.component_tree.get_all_components(Source)}
        names = [name for name in dict.fromkeys([*collected, *stand_in_names(settings)]) if name not in described]
        made = []
        for name in names:
            source = Source(venue=name, documentation=self.documentation.get(name))
            made.append(source_definitions(source, "first" if name in collected else "stand-in"))
        if FRED not in described:
            made.append(fred_definitions(Source(venue=FRED, documentation=self.documentation.get(FRED))))
        return dg.Definitions.merge(*made)


def fred_definitions(source: Source) -> dg.Definitions:
    """FRED with its checks, its observations and when they are asked for; nothing where no series is collected."""
    settings = load_settings()
    if settings.macro_series is None:
        return dg.Definitions()
    check = check_job(FRED)
    schedule = source_schedule(check, _CHECKED, _ABOUT_CHECKS.format(FRED))
    own = dg.Definitions(asset_checks=[source_checks(FRED, look_at_fred)], jobs=[check], schedules=[schedule])
    return dg.Definitions.merge(macro_definitions(settings, _looks(source), source.sync_cron), own)


def _looks(source: Source) -> VenueLooks:
    return VenueLooks(source.description, source.owners, source.tags, source.kinds, source.documentation)


def source_definitions(source: Source, role: Role) -> dg.Definitions:
    """Asset, checks, jobs and schedules of one source. Of a venue that stands in nothing is synchronised."""
    venue, settings = source.venue, load_settings()
    jobs = [check := check_job(venue)]
    schedules = []
    if venue not in collected_venues(settings):  # the sensor `freshness` checks those each minute
        schedules.append(source_schedule(check, _CHECKED, _ABOUT_CHECKS.format(venue)))
    if role == "first":
        jobs.append(history := history_job(venue))
        schedules.append(source_schedule(history, source.sync_cron or _SYNCED, _ABOUT_HISTORY.format(venue)))
        if not is_streamed(settings, venue):
            jobs.append(prices := price_job(venue))
            schedules.append(source_schedule(prices, source.prices_cron, _ABOUT_PRICES.format(venue)))
    return dg.Definitions(
        assets=[venue_asset(settings, venue, role, _looks(source))],
        asset_checks=[source_checks(venue, partial(look_at, venue))],
        jobs=jobs,
        schedules=schedules,
    )
