"""The words of the field, pure: instruments, timeframes, calendars, bars and their precedence, roll-up, gap arithmetic
and classification, reconciliation.

Polars in, Polars out. Here belongs what is true of market data whatever the venue, the database or the scheduler.
What reads or writes anything (files, sockets, SQL), what knows one venue's protocol and what decides *when* something
runs does not belong here.
"""

from crypto_pipeline.market.bars import BAR_SCHEMA, TRADE_SCHEMA, UTC_MS, Source, empty_bars, vwap
from crypto_pipeline.market.instruments import AssetClass, Instrument, Tier
from crypto_pipeline.market.rollup import roll_up, roll_up_all
from crypto_pipeline.market.timeframes import HIGHER_TIMEFRAMES, Timeframe, parse_time, require_utc

__all__ = [
    "BAR_SCHEMA",
    "HIGHER_TIMEFRAMES",
    "TRADE_SCHEMA",
    "UTC_MS",
    "AssetClass",
    "Instrument",
    "Source",
    "Tier",
    "Timeframe",
    "empty_bars",
    "parse_time",
    "require_utc",
    "roll_up",
    "roll_up_all",
    "vwap",
]
