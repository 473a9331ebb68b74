"""Compiled loops over events and their bars. Import this late: numba takes half a second to import.

Compiled at the first call (about two seconds, kept on disk afterwards); free of the interpreter's lock while they run.
"""

from __future__ import annotations

import numpy as np

from crypto_pipeline.arrays.compiled import compiled
from crypto_pipeline.arrays.panel import Flags, Floats, Ints
from crypto_pipeline.labels.barrier_types import UNCLEAR, BarrierOutcome, PathBars, Plans, Results
from crypto_pipeline.labels.intrabar import Ambiguous, Minutes

_OPEN, _TP, _SL, _TIME = (int(one) for one in BarrierOutcome)
_BY_MINUTES, _ASSUMED = int(Ambiguous.MINUTES), int(Ambiguous.ASSUMED)


@compiled
def follow(
    bars: PathBars, plans: Plans, horizon: int, events: Ints, minutes: Minutes, minutes_given: bool, results: Results
) -> None:
    """Take ``events`` from the bar at which they stand to their end, or to the next bar that is unclear.

    ``told``: the bars at which they stand are unclear, and ``minutes`` are those inside of them.
    """
    opens, highs, lows = bars.open, bars.high, bars.low
    for number in range(len(events)):
        event = events[number]
        entry = plans.entry[event]
        end = min(entry + horizon, plans.end[event])
        filled, average = results.filled[event], results.average_price[event]
        lowest, highest = results.lowest[event], results.highest[event]
        row, outcome, price, ask = entry + results.bars[event], _OPEN, np.nan, minutes_given
        below, above = _edges(plans, event, filled, average)
        while row < end and outcome == _OPEN:
            opened, high, low = opens[row], highs[row], lows[row]
            if below < opened < above and below < low and high < above:  # nearly always: nothing can happen
                row, lowest, highest = row + 1, min(lowest, low), max(highest, high)
                continue
            if np.isnan(opened):
                row += 1
                continue
            # One function with the loop: as a function of its own this part made the whole a fifth slower.
            outcome, filled, average = _at_open(plans, event, opened, opened, filled, average)
            price = opened
            if outcome == _OPEN:
                outcome, after, mean, unclear = _within(plans, event, high, low, filled, average)
                if unclear and not ask:
                    outcome = UNCLEAR
                    break
                if unclear:
                    first, last = minutes.first[number], minutes.end[number]
                    outcome, after, mean, decided = _inside(
                        plans, event, high, low, filled, average, minutes, first, last
                    )
                    results.ambiguous[event] = max(results.ambiguous[event], decided)
                filled, average = after, mean
                price = plans.stop[event] if outcome == _SL else target_of(plans, event, filled, average)
            ask = False
            row += 1
            if outcome == _OPEN:
                lowest, highest = min(lowest, low), max(highest, high)
                below, above = _edges(plans, event, filled, average)
            else:
                # Of the last bar its open and the exit are sure to have been seen.
                lowest, highest = min(lowest, opened, price), max(highest, opened, price)
        if outcome == _OPEN:
            outcome, price = _at_end(bars, entry + horizon <= plans.end[event], row)
        results.outcome[event], results.bars[event], results.exit_price[event] = outcome, row - entry, price
        results.filled[event], results.average_price[event] = filled, average
        results.take_profit[event] = target_of(plans, event, filled, average)
        results.lowest[event], results.highest[event] = lowest, highest


@compiled
def _at_end(bars: PathBars, over: bool, row: int) -> tuple[int, float]:
    """Nothing was touched before ``row``: outcome and exit price, by whether the horizon is ``over``."""
    if not over:
        return _OPEN, np.nan
    last = row - 1
    while np.isnan(bars.close[last]):
        last -= 1
    return _TIME, bars.close[last]


@compiled
def _edges(plans: Plans, event: int, filled: int, average: float) -> tuple[float, float]:
    """The prices between which a bar changes nothing: below, the stop or the next order; above, the take profit."""
    below = plans.orders[event, filled] if filled < plans.orders.shape[1] else plans.stop[event]
    return below, target_of(plans, event, filled, average)


@compiled
def target_of(plans: Plans, event: int, filled: int, average: float) -> float:
    """The take profit that stands when so many orders are filled at that average price."""
    target: float = plans.take_profit[event]
    if np.isnan(target):
        target = average * (1 + plans.profit[event])
    return target


@compiled
def fill_orders(plans: Plans, event: int, reached: float, at: float, filled: int, average: float) -> tuple[int, float]:
    """Fill the orders at or above the price ``reached``, at ``at`` (NaN: each at its own price).

    Equal sums are spent on each order, so the average price is the harmonic mean.
    """
    while filled < plans.orders.shape[1] and plans.orders[event, filled] >= reached:
        paid = plans.orders[event, filled] if np.isnan(at) else at
        average = (filled + 1) / (filled / average + 1 / paid)
        filled += 1
    return filled, average


@compiled
def _at_open(plans: Plans, event: int, opened: float, at: float, filled: int, average: float) -> tuple[int, int, float]:
    """Rules 1 to 3: outcome, orders filled, average price. ``at``: price of orders filled here (NaN: their own)."""
    if opened <= plans.stop[event]:
        return _SL, filled, average
    filled, average = fill_orders(plans, event, opened, at, filled, average)
    return (_TP if opened >= target_of(plans, event, filled, average) else _OPEN), filled, average


@compiled
def _within(
    plans: Plans, event: int, high: float, low: float, filled: int, average: float
) -> tuple[int, int, float, bool]:
    """Rules 4 to 6: outcome, orders filled, average price, and whether another order of them would end otherwise."""
    after, mean = fill_orders(plans, event, low, np.nan, filled, average)
    taken = high >= target_of(plans, event, after, mean)  # the lowest take profit of the bar
    if low <= plans.stop[event]:
        return _SL, after, mean, taken
    if high >= target_of(plans, event, filled, average):
        return _TP, filled, average, after > filled
    return _OPEN, after, mean, taken


@compiled
def _inside(
    plans: Plans,
    event: int,
    high: float,
    low: float,
    filled: int,
    average: float,
    minutes: Minutes,
    first: int,
    end: int,
) -> tuple[int, int, float, int]:
    """An unclear bar, minute by minute after its open: outcome, orders filled, average price, how it was decided."""
    top, bottom = -np.inf, np.inf
    for minute in range(first, end):
        if minutes.volume[minute] > 0:
            top, bottom = max(top, minutes.high[minute]), min(bottom, minutes.low[minute])
    if top != high or bottom != low:
        outcome, filled, average, _ = _within(plans, event, high, low, filled, average)
        return outcome, filled, average, _ASSUMED
    decided, outcome = _BY_MINUTES, _OPEN
    for minute in range(first, end):
        if minutes.volume[minute] > 0:
            outcome, filled, average = _at_open(plans, event, minutes.open[minute], np.nan, filled, average)
            if outcome == _OPEN:
                outcome, filled, average, unclear = _within(
                    plans, event, minutes.high[minute], minutes.low[minute], filled, average
                )
                if unclear:
                    decided = _ASSUMED
        if outcome != _OPEN:
            break
    if outcome == _SL:
        filled, average = fill_orders(plans, event, low, np.nan, filled, average)
    return outcome, filled, average, decided


@compiled
def overlaps(entry: Ints, bars: Ints, width: int, alive: Ints, shares: Floats) -> None:
    """Fill ``shares``; ``alive`` is zero everywhere, one place per bar of an instrument, and is so again at the end."""
    begin = 0
    while begin < len(entry):
        end = begin
        while end < len(entry) and entry[end] // width == entry[begin] // width:
            first = entry[end] % width
            alive[first : first + bars[end]] += 1
            end += 1
        for label in range(begin, end):
            first = entry[label] % width
            share = 0.0
            for place in range(first, first + bars[label]):
                share += 1.0 / alive[place]
            shares[label] = share / bars[label]
        for label in range(begin, end):
            first = entry[label] % width
            alive[first : first + bars[label]] = 0
        begin = end


@compiled
def chain(bars: Ints, begins: Ints, week: int, spacing: int, chosen: Flags) -> None:
    """Mark the candidates that become setups: see ``setups.spaced``. ``begins``: where the week of each one begins."""
    if len(bars) == 0:
        return
    run, before, free = bars[0], bars[0], bars[0]
    for number in range(len(bars)):
        bar, begin = bars[number], begins[number]
        if bar - before >= spacing:
            run = bar
        elif before < begin and run < begin - week:
            free = before + spacing  # no earlier than after the setup before it, whichever of the candidates that was
        if bar >= free:
            chosen[number] = True
            free = bar + spacing
        before = bar


@compiled
def channel_shape(
    close: Floats, high: Floats, low: Floats, rows: Ints, lines: Floats, window: int, apart: int, shape: Floats
) -> None:
    """Fill ``shape`` (a row per row of ``rows``): share of the closes inside, touches of the upper and lower band.

    Prices are logarithms; ``lines`` has slope, end, half width of the channel, and how near to a band is a touch.
    Touches are counted from the left, each at least ``apart`` bars after the one counted before it.
    """
    for number in range(len(rows)):
        slope, end, half, reach = lines[number, 0], lines[number, 1], lines[number, 2], lines[number, 3]
        inside, upper, lower, last_upper, last_lower = 0, 0, 0, -apart, -apart
        for place in range(window):
            row, line = rows[number] - window + 1 + place, end + slope * (place - window + 1)
            inside += abs(close[row] - line) <= half
            above, below = high[row] - line, low[row] - line
            if above >= half - reach and below <= half + reach and place - last_upper >= apart:
                upper, last_upper = upper + 1, place
            if below <= -half + reach and above >= -half - reach and place - last_lower >= apart:
                lower, last_lower = lower + 1, place
        shape[number, 0], shape[number, 1], shape[number, 2] = inside / window, upper, lower
