"""The materialized views as assets: refreshed on a schedule, with their age and size, and proven once a day."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import dagster as dg

from crypto_pipeline.defs import metadata
from crypto_pipeline.defs.jobs import HIGH, schedule
from crypto_pipeline.defs.resources import Market
from crypto_pipeline.ops.housekeeping.storage_report import size_text
from crypto_pipeline.store.views.views import VIEWS

GROUP = "views"
OWNERS = ["team:market-data"]
#: Not tagged as processors: they take seconds, and must not wait until a long backfill frees its slot.
_SHORT = {"dagster/priority": str(HIGH)}

#: Older than this the schedule has missed its turn more than once.
_TOO_OLD = {
    "ohlc_today": timedelta(minutes=20),
    "instrument_summary": timedelta(minutes=20),
    "ohlc_recent": timedelta(hours=3),
}
_ABOUT = {
    "ohlc_today": "Bars of the last 24 hours, every timeframe, with the names of instrument and source. For people and "
    "tools that query SQL by name; our own reader never depends on it. Refreshed every 5 minutes.",
    "ohlc_recent": "Bars of the last 7 days, every timeframe, with the names of instrument and source. Refreshed every "
    "hour.",
    "instrument_summary": "Per instrument: last price, change, range and volume of 24 hours, coverage of 7 days. "
    "Refreshed every 5 minutes.",
}

_OF_BARS = {column.name: column for column in metadata.COLUMN_SCHEMA.columns}
_SHOWN = (
    "timeframe open_time open high low close volume quote_volume vwap taker_buy_volume trade_count source complete "
    "revision recorded_at"
)
_SYMBOL = dg.TableColumn("symbol", "text", description="The instrument's name: BTC-USDT.")
_NAMED = {
    "vwap": dg.TableColumn("vwap", "float8", description="Volume-weighted mean price; null where nothing traded."),
    "source": dg.TableColumn("source", "text", description="Where this copy of the bar came from."),
}
_SUMMARY = [
    ("asset_class", "text", "crypto, stock, …"),
    ("tier", "text", "Liquidity class: large, mid, meme, stock, macro."),
    ("active", "boolean", "It is collected."),
    ("last_open_time", "timestamptz", "Newest 1m bar of the last 24 hours."),
    ("last_price", "float8", "Its close."),
    ("change_24h", "float8", "Fraction: last price against the close 24 hours before the refresh."),
    ("high_24h", "float8", "Highest price of 24 hours."),
    ("low_24h", "float8", "Lowest price of 24 hours."),
    ("range_24h", "float8", "Fraction: highest against lowest price."),
    ("volume_24h", "float8", "Volume in the base asset."),
    ("quote_volume_24h", "float8", "Volume in the quote asset."),
    ("trade_count_24h", "bigint", "Trades."),
    ("bars_24h", "integer", "1m bars of the last 24 hours."),
    ("coverage_7d", "float8", "Share of the expected 1m bars of 7 UTC days that is present or explained."),
    ("missing_7d", "bigint", "1m bars of 7 UTC days that are neither present nor explained."),
    ("first_day", "date", "First UTC day with 1m bars, archive included."),
    ("bars", "bigint", "1m bars stored, archive included."),
]


def column_schema(name: str) -> dg.TableSchema:
    """Columns of one view with what they say."""
    if name == "instrument_summary":
        columns = [dg.TableColumn(column, kind, description=text) for column, kind, text in _SUMMARY]
        return dg.TableSchema([_SYMBOL, *columns], dg.TableConstraints(["one row per symbol"]))
    columns = [_NAMED.get(column) or _OF_BARS[column] for column in _SHOWN.split()]
    return dg.TableSchema([_SYMBOL, *columns], dg.TableConstraints(["one row per (symbol, timeframe, open time)"]))


def view_asset(name: str) -> dg.AssetsDefinition:
    """The asset of one materialized view."""

    @dg.asset(
        name=name,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"postgres", "view"},
        description=_ABOUT[name],
        # All of them are made of all bars. One edge says so as well as eight, and can be seen; schedules refresh them.
        deps=["coverage"],
        metadata={"dagster/table_name": f"market.{name}", "dagster/column_schema": column_schema(name)},
    )
    def view(context: dg.AssetExecutionContext, database: Market) -> dg.MaterializeResult[None]:
        with database.store() as store:
            done = store.views.refresh(name)
            state = store.views.state().filter(name=name).row(0, named=True)
        shown: dict[str, Any] = {
            "dagster/row_count": done.rows,
            "refreshed_at": dg.MetadataValue.timestamp(done.at),
            "age_seconds": round(state["age_seconds"], 3),
            "seconds": round(done.seconds, 3),
            "bytes": state["bytes"],
            "size": size_text(state["bytes"]),
            "method": done.method,
        }
        if done.because:
            shown["why_not_swapped"] = done.because
        return dg.MaterializeResult(metadata=shown)

    return view


def view_checks(name: str) -> dg.AssetChecksDefinition:
    """Both checks of one view."""
    specs = [
        dg.AssetCheckSpec("is_fresh", asset=name, description=f"Refreshed within the last {_TOO_OLD[name]}."),
        dg.AssetCheckSpec(
            "equals_table",
            asset=name,
            description="Every row is what the table held when the view was refreshed, and none is absent.",
        ),
    ]

    @dg.multi_asset_check(name=f"checks_{name}", specs=specs, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext, database: Market) -> Iterable[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        with database.store() as store:
            state = store.views.state().filter(name=name).row(0, named=True)
            if "is_fresh" in wanted:
                age = timedelta(seconds=round(state["age_seconds"]))
                yield _result(
                    store, name, "is_fresh", age <= _TOO_OLD[name],
                    f"{state['rows']:,} rows, refreshed {age} ago in {state['seconds']:.2f} s ({state['method']})", {},
                )  # fmt: skip
            if "equals_table" in wanted:
                wrong = store.views.differences(name)
                said = "equal to the table up to the refresh" if wrong.is_empty() else (
                    f"{wrong.height:,} false rows, of {wrong['instrument'].n_unique()} instruments; first: "
                    f"{wrong['instrument'][0]} {wrong['timeframe'][0]} {wrong['open_time'][0]}: {wrong['fault'][0]}"
                )  # fmt: skip
                shown = {} if wrong.is_empty() else {"offenders": metadata.table(wrong)}
                yield _result(store, name, "equals_table", wrong.is_empty(), said, shown)

    return checks


def _result(store: Any, name: str, check: str, passed: bool, said: str, shown: dict[str, Any]) -> dg.AssetCheckResult:
    severity = "warning" if check == "is_fresh" else "error"
    store.checks.record_result(f"{name}_{check}", None, passed=passed, severity=severity, summary=said)
    return dg.AssetCheckResult(
        check_name=check,
        asset_key=name,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN if severity == "warning" else dg.AssetCheckSeverity.ERROR,
        description=said,
        metadata={"summary": said, **shown},
    )


VIEW_ASSETS = [view_asset(name) for name in VIEWS]
VIEW_CHECKS = [view_checks(name) for name in VIEWS]


def _selection(*names: str, proven: bool) -> dg.AssetSelection:
    """Views with their checks; the comparison with the whole table only where it is asked for."""
    assets = dg.AssetSelection.assets(*names)
    checks = ["is_fresh", "equals_table"] if proven else ["is_fresh"]
    keys = [dg.AssetCheckKey(dg.AssetKey(name), check) for name in names for check in checks]
    return assets.without_checks() | dg.AssetSelection.checks(*keys)


refresh_today = dg.define_asset_job(
    "refresh_today",
    selection=_selection("ohlc_today", "instrument_summary", proven=False),
    tags=_SHORT,
    description="Refreshes the views `ohlc_today` and `instrument_summary`.",
)
refresh_recent = dg.define_asset_job(
    "refresh_recent",
    selection=_selection("ohlc_recent", proven=False),
    tags=_SHORT,
    description="Refreshes the view `ohlc_recent`.",
)
prove_views = dg.define_asset_job(
    "prove_views",
    selection=_selection(*VIEWS, proven=True),
    tags=_SHORT,
    description="Refreshes every view and compares it with the tables, row by row.",
)

VIEW_JOBS = [refresh_today, refresh_recent, prove_views]
VIEW_SCHEDULES = [
    # Two minutes after the recent processor, so that what it healed is in; HIGH work goes first all the same.
    schedule(
        "today_every_five_minutes",
        refresh_today,
        "2-59/5 * * * *",
        "Every 5 minutes: refreshes the view of the last 24 hours and the summary of instruments.",
    ),
    schedule("recent_every_hour", refresh_recent, "7 * * * *", "Every hour: refreshes the view of the last 7 days."),
    schedule(
        "views_proven_daily",
        prove_views,
        "0 2 * * *",
        "Every night: refreshes every view and compares it with the tables, row by row.",
    ),
]
