"""``BarSource``: one YAML entry that stands for a venue's bars, their checks, jobs, schedules and their sensor."""

from functools import cached_property

import dagster as dg
from pydantic import Field

from crypto_pipeline.defs.bars.assets import bar_asset, instruments_asset
from crypto_pipeline.defs.bars.checks import bar_checks
from crypto_pipeline.defs.bars.jobs import BACKFILL, backfill_job, refresh_job, weekly_job
from crypto_pipeline.defs.bars.schedules import PROCESSORS, processor_schedule, weeks_sensor
from crypto_pipeline.defs.base.subjects import TRADES, venue_key
from crypto_pipeline.market.timeframes import LOWER, Timeframe
from crypto_pipeline.settings import Settings, SettingsError, load_settings
from crypto_pipeline.venues import collected_venues, settings_at, venue_entry


class BarSource(dg.Component, dg.Model, dg.Resolvable):
    """Bars of one venue: the venue, its instruments, their bars of each width, and what keeps these up to date.

    The assets are `<name>_instruments`, `<name>_ohlc_1m` and so on; a source without a name has no prefix. Checks look
    at every stored instrument of a width, whatever source it came from.
    """

    name: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9_]*$",
        description="Prefix of the names of all that the source defines. Only one source may be without.",
    )
    venue: str | None = Field(default=None, description="Where bars come from. Default: the setting venue.")
    instruments: list[str] = Field(
        default=[], description="Canonical symbols, for example BTC-USDT. Empty: every active instrument."
    )
    widest: str = Field(
        default="1w", description="Bars are made of every width from 1m to this one: 1m 5m 15m 30m 1h 4h 1d 1w."
    )

    @cached_property
    def timeframes(self) -> list[Timeframe]:
        """The widths of the source, narrow ones first. Raises ValueError for an unknown one."""
        widest = Timeframe.parse(self.widest)
        return [timeframe for timeframe in Timeframe if timeframe.minutes <= widest.minutes]

    def settings(self) -> Settings:
        """The settings of this process, with the venue of the source. Raises SettingsError."""
        settings = load_settings()
        if self.venue is None:
            return settings
        try:
            venue_entry(self.venue)
        except ValueError as error:
            raise SettingsError(f"a source of bars: {error}") from None
        return settings_at(settings, self.venue)

    def named(self, name: str) -> str:
        """``name`` with the prefix of the source."""
        return f"{self.name}_{name}" if self.name else name

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Everything that follows from the entry."""
        instruments = self.named("instruments")
        bars = {timeframe: self.named(f"ohlc_{timeframe}") for timeframe in self.timeframes}
        venues = [venue_key(venue) for venue in collected_venues(self.settings())]
        assets = [instruments_asset(instruments, venues, self.settings)]
        for timeframe, name in bars.items():
            lower = LOWER.get(timeframe)
            deps = [bars[lower]] if lower else [instruments] if self.name else [instruments, TRADES]
            assets.append(bar_asset(timeframe, name, deps, self.settings, self.instruments))
        checks = [bar_checks(one, name, self.named(f"checks_{one}")) for one, name in bars.items()]
        return dg.Definitions.merge(dg.Definitions(assets=assets, asset_checks=checks), self._jobs(instruments, bars))

    def _jobs(self, instruments: str, bars: dict[Timeframe, str]) -> dg.Definitions:
        """Jobs, the schedules that ask for them, and the sensor that lets weeks follow days."""
        days = [name for timeframe, name in bars.items() if timeframe is not Timeframe.W1]
        all_coverage = [] if self.name else ["coverage"]
        backfill = backfill_job(self.named(BACKFILL), [instruments, *days, *all_coverage])
        jobs = [backfill, refresh_job(self.named("refresh_instruments"), instruments)]
        sensors = []
        if Timeframe.W1 in bars:
            weekly = weekly_job(self.named("weekly_bars"), bars[Timeframe.W1])
            jobs.append(weekly)
            sensors.append(weeks_sensor(self.named("weeks_follow_days"), backfill, weekly))
        schedules = [processor_schedule(one, self.named(one.name), backfill) for one in PROCESSORS]
        return dg.Definitions(jobs=jobs, schedules=schedules, sensors=sensors)
