"""Compiled loops over the paths of trades. Import this late: numba takes half a second to import."""

from __future__ import annotations

import numpy as np

from crypto_pipeline.arrays.compiled import compiled
from crypto_pipeline.arrays.panel import Floats, Ints
from crypto_pipeline.labels.barrier_types import PathBars, Plans
from crypto_pipeline.labels.kernels import fill_orders, target_of


@compiled
def buys(opens: Floats, lows: Floats, entry: Ints, orders: Floats, filled: Ints, rows: Ints, prices: Floats) -> None:
    """Fill ``rows`` and ``prices``, a place per order that was filled, event after event: where and at what price.

    The first order of an event is filled at its entry bar. A later one is filled in the first bar that reaches it: at
    the open where the bar opens at or below it, else at its own price. How many were filled is known (``filled``).
    """
    place = 0
    for event in range(len(entry)):
        row = entry[event]
        for number in range(filled[event]):
            price = orders[event, number]
            if number > 0:
                while not lows[row] <= price:
                    row += 1
                price = min(price, opens[row])
            rows[place], prices[place] = row, price
            place += 1


@compiled
def trail(bars: PathBars, plans: Plans, distance: Floats, horizon: int, whole: Ints, prices: Floats) -> None:
    """Follow events with a trailing stop. Fills ``whole`` (outcome, bars, filled, ambiguous) and ``prices`` (exit,
    average, take profit, stop), a row per event.

    The rules of the triple barrier, with a stop that rises: it is armed once a bar before reached half of the way from
    the average entry to the take profit, and stands ``distance`` below the highest high of the bars before. Where a
    bar could have done two things in another order, the stop is assumed first.
    """
    for event in range(len(plans.entry)):
        row, last = plans.entry[event], min(plans.entry[event] + horizon, plans.end[event])
        filled, average, top, armed = 1, plans.orders[event, 0], -np.inf, False
        outcome, price, ambiguous, level = 0, np.nan, 0, plans.stop[event]
        while row < last and outcome == 0:
            opened, high, low = bars.open[row], bars.high[row], bars.low[row]
            row += 1
            if np.isnan(opened):
                continue
            armed = armed or top >= average + (target_of(plans, event, filled, average) - average) / 2
            if armed:
                level = max(level, top * (1 - distance[event]))
            outcome, price, filled, average, unsure = _bar(plans, event, opened, high, low, level, filled, average)
            ambiguous, top = max(ambiguous, unsure), max(top, high)
        if outcome == 0 and plans.entry[event] + horizon <= plans.end[event]:
            back = row - 1
            while np.isnan(bars.close[back]):
                back -= 1
            outcome, price = 3, bars.close[back]
        whole[event, 0], whole[event, 1] = outcome, row - plans.entry[event]
        whole[event, 2], whole[event, 3] = filled, ambiguous
        prices[event, 0], prices[event, 1] = price, average
        prices[event, 2], prices[event, 3] = target_of(plans, event, filled, average), level


@compiled
def _bar(
    plans: Plans, event: int, opened: float, high: float, low: float, level: float, filled: int, average: float
) -> tuple[int, float, int, float, int]:
    """One bar with its stop at ``level``: outcome, price, orders filled, their average, whether it was assumed (2)."""
    if opened <= level:
        return 2, opened, filled, average, 0
    filled, average = fill_orders(plans, event, opened, opened, filled, average)
    if opened >= target_of(plans, event, filled, average):
        return 1, opened, filled, average, 0
    after, mean = fill_orders(plans, event, max(low, level), np.nan, filled, average)
    taken = high >= target_of(plans, event, after, mean)
    if low <= level:
        return 2, level, after, mean, 2 if taken else 0
    goal = target_of(plans, event, filled, average)
    if high >= goal:
        return 1, goal, filled, average, 2 if after > filled else 0
    return 0, np.nan, after, mean, 2 if taken else 0
