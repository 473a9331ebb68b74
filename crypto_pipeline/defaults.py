"""Defaults that settings choose from: replay venues, instruments of a plain ``up``, days of retention."""

from __future__ import annotations

from crypto_pipeline.market.timeframes import Timeframe

#: The venues that replay a market: the default one, and a second exchange with a market of its own.
REPLAY, SECOND_REPLAY = "replay", "replay_standby"


def replays(venue: str) -> bool:
    """Whether ``venue`` is an exchange that replays a market."""
    return venue in (REPLAY, SECOND_REPLAY)


#: What the setting ``retention`` chooses: days in the tables, and days in table and archive together, by timeframe. A
#: timeframe that is not named, or has 0 days, is kept for ever.
_HOT = {str(each): each.hot_days for each in Timeframe if each.hot_days is not None}
_KEPT = {str(each): each.kept_days for each in Timeframe if each.kept_days is not None}
RETENTION: dict[str, dict[str, dict[str, int]]] = {
    "research": {"keep_hot_days": _HOT, "keep_days": dict.fromkeys(_HOT, 0)},
    "lean": {"keep_hot_days": _HOT, "keep_days": _KEPT},
}

#: What a plain ``up`` on the generated market collects: few instruments over many days, not the reverse. Features of
#: 4h are warm after 42 days, labels begin after 8, and 8 instruments of all three tiers have some of every strategy
#: (figures: bench/RESULTS.md).
GENERATED = ("BTC-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT", "ARB-USDT", "OP-USDT", "PEPE-USDT", "WIF-USDT")
GENERATED_DAYS = 45
