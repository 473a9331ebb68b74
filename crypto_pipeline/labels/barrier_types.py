"""What the triple barrier is computed from and what it gives: plans, paths of bars, results. All of them are arrays."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from crypto_pipeline.arrays.panel import Floats, Ints


class BarrierOutcome(IntEnum):
    """What came first."""

    OPEN = 0  # the bars end before the horizon, and nothing was touched yet
    TP = 1
    SL = 2
    TIME = 3


#: Not among them: an event stands at a bar that its minutes must decide.
UNCLEAR = -1


class PathBars(NamedTuple):
    """Bars of all instruments of a panel behind each other; NaN where one is absent."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats


class Plans(NamedTuple):
    """Events with their barriers, as arrays with one row per event.

    ``entry`` is the row of the entry bar, ``end`` the row after the instrument's last bar, ``orders`` the prices of all
    orders, highest first (the first is the entry price), ``stop`` the stop, below the lowest order. The take profit is
    ``take_profit`` where that is not NaN, otherwise ``profit`` (a fraction) above the average entry.
    """

    entry: Ints
    end: Ints
    orders: Floats  # (events, orders)
    stop: Floats
    take_profit: Floats
    profit: Floats


class Results(NamedTuple):
    """What became of each event so far. ``bars`` counts the entry bar, so that a touch in it is 1."""

    outcome: Ints
    bars: Ints
    filled: Ints
    ambiguous: Ints
    exit_price: Floats
    average_price: Floats
    take_profit: Floats
    lowest: Floats
    highest: Floats

    @classmethod
    def at_entry(cls, plans: Plans) -> Results:
        """The state of each event at its entry: one order filled at the open, no outcome yet."""
        count, price = len(plans.entry), plans.orders[:, 0]
        return cls(
            outcome=np.zeros(count, np.int64),
            bars=np.zeros(count, np.int64),
            filled=np.ones(count, np.int64),
            ambiguous=np.zeros(count, np.int64),
            exit_price=np.full(count, np.nan),
            average_price=price.copy(),
            take_profit=np.full(count, np.nan),
            lowest=price.copy(),
            highest=price.copy(),
        )
