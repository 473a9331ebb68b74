"""The triple barrier: which of take profit, stop and time came first, on a path of 15m bars.

An event buys at the open of its entry bar; more orders may lie below (the grid of DCA) and lower the take profit, which
stands on the average entry, as they are filled. Rules, in the order in which they are tried at every bar:

1. the bar opens at or below the stop: out at the open, orders that were not filled before are cancelled;
2. orders at or above the open are filled at the open, and the take profit moves at once;
3. the bar opens at or above the take profit: out at the open;
4. the bar touches the stop: out at the stop, every order having been filled on the way;
5. the bar touches the take profit that stood after its open: out at it;
6. orders touched inside the bar are filled at their price; the take profit moves from the next bar on.

Where one bar could have done two of 4, 5 and 6 in another order with another result, its minutes decide, walked by the
same rules; they decide only the order, prices stay those of the bar. Minutes are believed when their traded extremes
are the bar's; otherwise, and where one minute does it all, the order above is assumed. Absent bars touch nothing.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from crypto_pipeline.labels.intrabar import MinuteSource, no_minutes
from crypto_pipeline.labels.panel import Floats, Ints, Panel


class Outcome(IntEnum):
    """What came first."""

    OPEN = 0  # the bars end before the horizon, and nothing was touched yet
    TP = 1
    SL = 2
    TIME = 3


#: Not among them: an event stands at a bar that its minutes must decide.
UNCLEAR = -1


class Bars(NamedTuple):
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
        """Bought at the open of the entry bar, and nothing more is known."""
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


def touch(panel: Panel, plans: Plans, horizon: int, minutes: MinuteSource = no_minutes) -> Results:
    """Follow every event for at most ``horizon`` bars. Entry bars must be present. About 1 µs an event."""
    from crypto_pipeline.labels.kernels import follow  # late: numba takes half a second to import

    bars = Bars(*(column.ravel() for column in (panel.open, panel.high, panel.low, panel.close)))
    results = Results.at_entry(plans)
    events = np.arange(len(plans.entry))
    follow(bars, plans, horizon, events, no_minutes(events, events), False, results)
    while len(events := np.flatnonzero(results.outcome == UNCLEAR)):
        number, place = np.divmod(plans.entry[events] + results.bars[events], panel.width)
        inside = minutes(number, panel.times(place))
        follow(bars, plans, horizon, events, inside, True, results)
    return results
