"""The terms and rules of market data, pure: instruments, timeframes, calendars, bars and their precedence, roll-up, gap
arithmetic and classification, reconciliation, the form of a check's outcome.

``timeframes`` lists the timeframes and for how many days bars of each are kept; ``retention`` computes with these days.
``precedence`` ranks the sources of a bar.

Functions take and return Polars frames. This room holds what is true of market data for any venue, database and
scheduler. It reads and writes nothing (files, sockets, SQL), knows no venue's protocol, and does not decide when
something runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crypto_pipeline.lazy_attributes import lazy_attributes

if TYPE_CHECKING:
    from crypto_pipeline.market.bars import BAR_SCHEMA, TRADE_SCHEMA, UTC_MS, BarOrigin, conform, empty_bars, vwap
    from crypto_pipeline.market.calendars import Calendar, expected_open_times, get_calendar
    from crypto_pipeline.market.gaps.arithmetic import (
        Span,
        count_bars,
        intersect,
        merge_spans,
        missing_spans,
        missing_spans_by_cell,
        subtract,
        to_spans,
    )
    from crypto_pipeline.market.gaps.classification import GapRules, GapState, GapVerdict, classify, verdict_frame
    from crypto_pipeline.market.gaps.evidence import Evidence, TradeProof, sibling_activity
    from crypto_pipeline.market.gaps.expected import expected_bounds, expected_cells
    from crypto_pipeline.market.instruments import AssetClass, Instrument, Tier
    from crypto_pipeline.market.reconciliation import Disagreement, compare_bars
    from crypto_pipeline.market.rollup import roll_up, roll_up_all, roll_up_final
    from crypto_pipeline.market.timeframes import HIGHER_TIMEFRAMES, Timeframe, parse_time, require_utc
    from crypto_pipeline.market.trades.aggregation import bars_from_trades
    from crypto_pipeline.market.universe import choose_instruments, load_universe, parse_universe

__all__ = [
    "BAR_SCHEMA",
    "HIGHER_TIMEFRAMES",
    "TRADE_SCHEMA",
    "UTC_MS",
    "AssetClass",
    "BarOrigin",
    "Calendar",
    "Disagreement",
    "Evidence",
    "GapRules",
    "GapState",
    "GapVerdict",
    "Instrument",
    "Span",
    "Tier",
    "Timeframe",
    "TradeProof",
    "bars_from_trades",
    "choose_instruments",
    "classify",
    "compare_bars",
    "conform",
    "count_bars",
    "empty_bars",
    "expected_bounds",
    "expected_cells",
    "expected_open_times",
    "get_calendar",
    "intersect",
    "load_universe",
    "merge_spans",
    "missing_spans",
    "missing_spans_by_cell",
    "parse_time",
    "parse_universe",
    "require_utc",
    "roll_up",
    "roll_up_all",
    "roll_up_final",
    "sibling_activity",
    "subtract",
    "to_spans",
    "verdict_frame",
    "vwap",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "trades.aggregation": ("bars_from_trades",),
        "bars": (
            "BAR_SCHEMA",
            "TRADE_SCHEMA",
            "UTC_MS",
            "BarOrigin",
            "conform",
            "empty_bars",
            "vwap",
        ),
        "calendars": (
            "Calendar",
            "expected_open_times",
            "get_calendar",
        ),
        "gaps.arithmetic": (
            "Span",
            "count_bars",
            "intersect",
            "merge_spans",
            "missing_spans",
            "missing_spans_by_cell",
            "subtract",
            "to_spans",
        ),
        "gaps.classification": (
            "GapRules",
            "GapState",
            "GapVerdict",
            "classify",
            "verdict_frame",
        ),
        "gaps.evidence": (
            "Evidence",
            "TradeProof",
            "sibling_activity",
        ),
        "gaps.expected": (
            "expected_bounds",
            "expected_cells",
        ),
        "instruments": (
            "AssetClass",
            "Instrument",
            "Tier",
        ),
        "reconciliation": (
            "Disagreement",
            "compare_bars",
        ),
        "rollup": (
            "roll_up",
            "roll_up_all",
            "roll_up_final",
        ),
        "timeframes": (
            "HIGHER_TIMEFRAMES",
            "Timeframe",
            "parse_time",
            "require_utc",
        ),
        "universe": (
            "choose_instruments",
            "load_universe",
            "parse_universe",
        ),
    },
)
