"""The source of macro series as an external asset, and their observations as an asset without partitions."""

import asyncio
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.subjects import MACRO, VenueLooks, venue_key
from crypto_pipeline.healing.macro.checks import STALE
from crypto_pipeline.healing.macro.due import expected_release
from crypto_pipeline.healing.macro.sync import MacroReport, sync_macro
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store

#: The asset of all observations: series are its rows, as instruments are those of bars.
OBSERVATIONS = "macro_observations"
#: The name of the source, as a venue has one.
FRED = "fred"
_SOURCE = venue_key(FRED)
_DOCUMENTATION = "https://fred.stlouisfed.org/docs/api/fred/"
_COLUMNS = metadata.columns("""
    series_id      text         FRED's id: market.macro_series has name, title and units.
    period         date         First day of the period.
    vintage_start  date         First day on which this was the newest value, in the zone of the series.
    vintage_end    date         Last such day; null: it still is the newest.
    value          float8       In the units of the series; null: the source states that there is none.
    available_at   timestamptz  The value may be used from this moment on.
    basis          text         How that is known: release, day_end or observed.
    recorded_at    timestamptz  Since when the row has this value, by the database's clock.
""")
#: Fields of an observation of FRED.
_STATED = metadata.columns("""
    date            date  First day of the period.
    value           text  The value; a point where there is none.
    realtime_start  date  First day of the vintage.
    realtime_end    date  Last day of the vintage.
""")


class ChosenSeries(dg.Config):
    """Which series a run asks for."""

    series: list[str] = Field(default=[], description="Names, for example CPI. Empty: every collected one.")
    full: bool = Field(default=False, description="Fetch every vintage again, also of series that did not change.")


def source_asset(settings: Settings, looks: VenueLooks) -> dg.AssetSpec:
    """The external asset of FRED, with its address as the settings give it."""
    shared = MACRO.arguments()
    replayed = settings.macro_source == "replay"
    keyed = replayed or settings.fred_api_key is not None
    return dg.AssetSpec(
        _SOURCE,
        group_name=shared["group_name"],
        owners=list(looks.owners) or shared["owners"],
        tags={**looks.tags, **shared["tags"]},
        kinds={"api", *looks.kinds},
        description=looks.description
        or "FRED and ALFRED of the Federal Reserve Bank of St. Louis: macro series with their vintages, and "
        "the days of releases. At most two requests a second."
        + ("" if keyed else " Without a key: plain CSV files, without vintages."),
        metadata={
            "source": settings.macro_source,
            "url": dg.MetadataValue.text("the replay exchange" if replayed else settings.fred_url),
            "documentation": dg.MetadataValue.url(looks.documentation or _DOCUMENTATION),
            "dagster/column_schema": metadata.table_schema(_STATED, "(series, date, vintage)"),
        },
    )


def observations_asset() -> dg.AssetsDefinition:
    """The asset of all observations."""

    @dg.asset(
        name=OBSERVATIONS,
        **MACRO.arguments("market"),
        kinds={"postgres", "polars"},
        deps=[_SOURCE],
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=STALE, warn_window=STALE / 2),
        description="Values of macro series: one row per period and vintage, with the moment from which on it may be "
        "used. A materialization asks for each series whether it changed, and fetches only new vintages.",
        metadata={
            "dagster/table_name": "market.macro_observations",
            "dagster/column_schema": metadata.table_schema(_COLUMNS, "(series, period, first day of the vintage)"),
        },
    )
    def macro_observations(
        context: dg.AssetExecutionContext, config: ChosenSeries, database: MarketDatabase
    ) -> dg.MaterializeResult[None]:
        with database.store() as store:
            rows = [row for row in store.macro.series() if not config.series or row.name in config.series]
            work = sync_macro(store, load_settings(), rows, full=config.full, run_id=context.run_id)
            report = asyncio.run(work)
            summary = _summary(store)
        for series, problem in report.problems.items():
            context.log.warning(f"{series}: {problem}")
        return dg.MaterializeResult(metadata=_shown(report, summary))

    return macro_observations


def _summary(store: Store) -> pl.DataFrame:
    """One row for each series: counts of stored rows, and the day of the next release."""
    counted = store.macro.summary()
    releases = [expected_release(store, row) for row in store.macro.series()]
    days = [None if one is None else one.day for one in releases]
    return counted.with_columns(pl.Series("next_release", days, dtype=pl.Date()))


def _shown(report: MacroReport, summary: pl.DataFrame) -> dict[str, Any]:
    outcomes = report.outcomes
    return {
        "dagster/row_count": int(summary["rows"].sum()),
        "series": summary.height,
        "asked": len(outcomes),
        "unchanged": sum(one.status == "unchanged" for one in outcomes),
        "failed": sum(one.status == "failed" for one in outcomes),
        "rows_added": sum(one.added for one in outcomes),
        "rows_changed": sum(one.changed for one in outcomes),
        "rows_refused": sum(one.refused for one in outcomes),
        "problems": dg.MetadataValue.json(report.problems),
        "stored": metadata.table(summary),
    }
