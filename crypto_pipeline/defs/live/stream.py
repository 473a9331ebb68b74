"""What the venue's stream becomes, as external assets: ingest writes it all the time, outside of Dagster's runs."""

import dagster as dg

from crypto_pipeline.defs.base.metadata import columns, table_schema
from crypto_pipeline.defs.base.subjects import LIVE, LIVE_PRICES, TRADES, venue_key
from crypto_pipeline.settings import load_settings
from crypto_pipeline.venues import collected_venues, streams

_TRADES = columns("""
    time           timestamptz  When it happened, by the venue's clock, UTC.
    trade_id       bigint       The venue's own number; without a jump per instrument where the venue's are.
    first_id       bigint       First of the individual trades in an aggregate.
    last_id        bigint       Last of the individual trades in an aggregate.
    price          float8       In the quote asset.
    quantity       float8       In the base asset.
    instrument_id  integer      Which instrument: market.instruments names it.
    venue_id       smallint     Which venue: market.venues names it.
    taker_buy      boolean      The taker bought.
""")
_PRICES = columns("""
    instrument_id    integer      Which instrument: market.instruments names it.
    timeframe        text         Width of the bar that is forming.
    open_time        timestamptz  Its start, UTC.
    open             float8       First price, in the quote asset.
    high             float8       Highest price so far.
    low              float8       Lowest price so far.
    close            float8       Newest price in the window.
    volume           float8       Volume in the base asset so far.
    last_price       float8       Newest price of the instrument.
    last_trade_time  timestamptz  When that was traded, by the venue's clock, UTC.
    source           text         Where it came from.
    updated_at       timestamptz  When it was stored, by the database's clock.
""")


@dg.definitions
def stream() -> dg.Definitions:
    """Trades and live prices behind the venues that are collected."""
    settings = load_settings()
    collected = collected_venues(settings)
    streaming = [venue for venue in collected if streams(settings, venue)]
    trades = dg.AssetSpec(
        TRADES,
        **LIVE.arguments("market"),
        kinds={"postgres"},
        deps=[venue_key(venue) for venue in streaming or collected],
        description="Trades as the venue states them, stored by ingest some hundred milliseconds after they happen and "
        "kept for some days. Live bars are made of them, and gaps are filled from them.",
        metadata={
            "dagster/table_name": "market.trades",
            "dagster/column_schema": table_schema(_TRADES, "(instrument, time, trade id, venue)"),
        },
    )
    prices = dg.AssetSpec(
        LIVE_PRICES,
        **LIVE.arguments("market"),
        kinds={"postgres"},
        deps=[TRADES],
        description="The newest price of each instrument, and the bar of each width that is forming now.",
        metadata={
            "dagster/table_name": "market.live_prices",
            "dagster/column_schema": table_schema(_PRICES, "(instrument, timeframe)"),
        },
    )
    return dg.Definitions(assets=[trades, prices])
