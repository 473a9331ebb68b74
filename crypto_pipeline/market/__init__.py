"""The words of the field, pure: instruments, timeframes, calendars, bars and their precedence, roll-up, gap arithmetic
and classification, reconciliation.

Polars in, Polars out. Here belongs what is true of market data whatever the venue, the database or the scheduler.
What reads or writes anything (files, sockets, SQL), what knows one venue's protocol and what decides *when* something
runs does not belong here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crypto_pipeline.market.aggregation import bars_from_trades
    from crypto_pipeline.market.bars import BAR_SCHEMA, TRADE_SCHEMA, UTC_MS, Source, conform, empty_bars, vwap
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
    from crypto_pipeline.market.gaps.classification import GapState, GapRules, GapVerdict, classify, verdict_frame
    from crypto_pipeline.market.gaps.evidence import Evidence, TradeProof, sibling_activity
    from crypto_pipeline.market.gaps.expected import expected_bounds, expected_cells
    from crypto_pipeline.market.instruments import AssetClass, Instrument, Tier
    from crypto_pipeline.market.reconciliation import Disagreement, compare_bars
    from crypto_pipeline.market.roll_up import roll_up, roll_up_all, roll_up_final
    from crypto_pipeline.market.timeframes import HIGHER_TIMEFRAMES, Timeframe, parse_time, require_utc
    from crypto_pipeline.market.universe import choose_instruments, load_universe, parse_universe

__all__ = [
    "BAR_SCHEMA",
    "HIGHER_TIMEFRAMES",
    "TRADE_SCHEMA",
    "UTC_MS",
    "AssetClass",
    "Calendar",
    "Disagreement",
    "Evidence",
    "GapState",
    "Instrument",
    "GapRules",
    "Source",
    "Span",
    "Tier",
    "Timeframe",
    "TradeProof",
    "GapVerdict",
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

_HOME = {
    "bars_from_trades": "aggregation",
    "BAR_SCHEMA": "bars",
    "Source": "bars",
    "TRADE_SCHEMA": "bars",
    "UTC_MS": "bars",
    "conform": "bars",
    "empty_bars": "bars",
    "vwap": "bars",
    "Calendar": "calendars",
    "expected_open_times": "calendars",
    "get_calendar": "calendars",
    "Span": "gaps.arithmetic",
    "count_bars": "gaps.arithmetic",
    "intersect": "gaps.arithmetic",
    "merge_spans": "gaps.arithmetic",
    "missing_spans": "gaps.arithmetic",
    "missing_spans_by_cell": "gaps.arithmetic",
    "subtract": "gaps.arithmetic",
    "to_spans": "gaps.arithmetic",
    "GapState": "gaps.classification",
    "GapRules": "gaps.classification",
    "GapVerdict": "gaps.classification",
    "classify": "gaps.classification",
    "verdict_frame": "gaps.classification",
    "Evidence": "gaps.evidence",
    "TradeProof": "gaps.evidence",
    "sibling_activity": "gaps.evidence",
    "expected_bounds": "gaps.expected",
    "expected_cells": "gaps.expected",
    "AssetClass": "instruments",
    "Instrument": "instruments",
    "Tier": "instruments",
    "Disagreement": "reconciliation",
    "compare_bars": "reconciliation",
    "roll_up": "rollup",
    "roll_up_all": "rollup",
    "roll_up_final": "rollup",
    "HIGHER_TIMEFRAMES": "timeframes",
    "Timeframe": "timeframes",
    "parse_time": "timeframes",
    "require_utc": "timeframes",
    "choose_instruments": "universe",
    "load_universe": "universe",
    "parse_universe": "universe",
}


def __getattr__(name: str) -> Any:
    """Import on first use: a reader of bars needs few of these modules."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
