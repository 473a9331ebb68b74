"""The materialized views as assets, with their age and size."""

import dagster as dg

from crypto_pipeline.defs.bars.metadata import COLUMNS
from crypto_pipeline.defs.base.metadata import columns, table_schema
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.subjects import VIEWS as SUBJECT
from crypto_pipeline.defs.views.refresh import TOO_OLD, refreshed
from crypto_pipeline.store.views.views import VIEWS

_ABOUT = {
    "ohlc_today": "Bars of the last 24 hours, every timeframe, with the names of instrument and source. For people and "
    "tools that query SQL by name; our own reader never depends on it. Refreshed every 5 minutes.",
    "ohlc_recent": "Bars of the last 7 days, every timeframe, with the names of instrument and source. Refreshed every "
    "hour.",
    "instrument_summary": "Per instrument: last price, change, range and volume of 24 hours, coverage of 7 days. "
    "Refreshed every 5 minutes.",
}

_BAR_COLUMNS = {column[0]: column for column in COLUMNS}
#: The columns of the views, which the migrations made: a new column of bars is in them once a migration says so.
_BARS_SHOWN = (
    "timeframe open_time open high low close volume quote_volume vwap taker_buy_volume trade_count source complete "
    "revision recorded_at"
)
_SYMBOL = ("symbol", "text", "The instrument's name: BTC-USDT.")
_NAMED = {
    "vwap": ("vwap", "float8", "Volume-weighted mean price; null where nothing traded."),
    "source": ("source", "text", "Where this copy of the bar came from."),
}
_SUMMARY = columns("""
    asset_class       text         crypto, stock, …
    tier              text         Liquidity class: large, mid, meme, stock, macro.
    active            boolean      It is collected.
    last_open_time    timestamptz  Newest 1m bar of the last 24 hours.
    last_price        float8       Its close.
    change_24h        float8       Fraction: last price against the close 24 hours before the refresh.
    high_24h          float8       Highest price of 24 hours.
    low_24h           float8       Lowest price of 24 hours.
    range_24h         float8       Fraction: highest against lowest price.
    volume_24h        float8       Volume in the base asset.
    quote_volume_24h  float8       Volume in the quote asset.
    trade_count_24h   bigint       Trades.
    bars_24h          integer      1m bars of the last 24 hours.
    coverage_7d       float8       Share of the expected 1m bars of 7 UTC days that is present or explained.
    missing_7d        bigint       1m bars of 7 UTC days that are neither present nor explained.
    first_day         date         First UTC day with 1m bars, archive included.
    bars              bigint       1m bars stored, archive included.
""")


def column_schema(name: str) -> dg.TableSchema:
    """Columns of one view with what they say."""
    if name == "instrument_summary":
        return table_schema([_SYMBOL, *_SUMMARY], "symbol")
    shown = [_NAMED.get(column) or _BAR_COLUMNS[column] for column in _BARS_SHOWN.split()]
    return table_schema([_SYMBOL, *shown], "(symbol, timeframe, open time)")


def view_asset(name: str) -> dg.AssetsDefinition:
    """The asset of one materialized view."""

    @dg.asset(
        name=name,
        **SUBJECT.arguments("market"),
        kinds={"postgres", "view"},
        description=_ABOUT[name],
        # All of them are made of all bars. One edge says so as well as eight, and can be seen; schedules refresh them.
        deps=["coverage"],
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=TOO_OLD[name], warn_window=TOO_OLD[name] / 2),
        metadata={"dagster/table_name": f"market.{name}", "dagster/column_schema": column_schema(name)},
    )
    def view(context: dg.AssetExecutionContext, database: MarketDatabase) -> dg.MaterializeResult[None]:
        with database.store() as store:
            return dg.MaterializeResult(metadata=refreshed(store, name))

    return view


view_assets = [view_asset(name) for name in VIEWS]
