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

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from crypto_pipeline.labels.grid import Flags, Floats, Grid, Ints
from crypto_pipeline.labels.minutes import Ambiguous, Minutes, walk_minutes

_CHUNK = 1024
_UNCLEAR = -1


class Outcome(IntEnum):
    """What came first."""

    OPEN = 0  # the bars end before the horizon, and nothing was touched yet
    TP = 1
    SL = 2
    TIME = 3


@dataclass(frozen=True, slots=True)
class Plans:
    """Events with their barriers, as arrays with one row per event.

    ``entry`` is the row of the entry bar in the grid, ``orders`` the prices of all orders, highest first (the first is
    the entry price), ``stop`` the stop. The take profit is ``take_profit`` where that is not NaN, otherwise
    ``profit`` (a fraction) above the average entry.
    """

    entry: Ints
    orders: Floats  # (events, orders)
    stop: Floats
    take_profit: Floats
    profit: Floats


@dataclass(slots=True)
class Results:
    """What became of each event. ``bars`` counts the entry bar, so that a touch in it is 1."""

    outcome: Ints
    bars: Ints
    exit_price: Floats
    average_price: Floats
    take_profit: Floats
    filled: Ints
    lowest: Floats
    highest: Floats
    ambiguous: Ints

    @classmethod
    def empty(cls, count: int) -> Results:
        """Nothing known of ``count`` events."""
        integers = {"outcome", "bars", "filled", "ambiguous"}
        return cls(
            **{  # type: ignore[arg-type]
                field.name: np.zeros(count, np.int64) if field.name in integers else np.full(count, np.nan)
                for field in fields(cls)
            }
        )


#: Given open times (ms since 1970) of 15m bars, the minutes inside each that has any.
MinuteSource = Callable[[Ints], dict[int, Minutes]]


def no_minutes(opens: Ints) -> dict[int, Minutes]:
    """A source that keeps none."""
    return {}


def touch(grid: Grid, plans: Plans, horizon: int, minutes: MinuteSource = no_minutes) -> Results:
    """Follow every event for at most ``horizon`` bars. Entry bars must be present. About 10 µs an event."""
    results = Results.empty(len(plans.entry))
    # Beyond the last bar nothing happens; an event whose path reaches there and has touched nothing stays OPEN.
    beyond = np.full(horizon, np.nan)
    columns = [np.concatenate((getattr(grid, name), beyond)) for name in ("open", "high", "low", "close")]
    views = [sliding_window_view(column, horizon) for column in columns]
    for begin in range(0, len(plans.entry), _CHUNK):
        rows = np.arange(begin, min(begin + _CHUNK, len(plans.entry)))
        opened, high, low, close = (view[plans.entry[rows]] for view in views)
        paths = _Paths(opened, high, low, close, plans, rows)
        _follow(grid, paths, plans, rows, minutes, results)
    return results


class _Paths:
    """The bars of a chunk of events as matrices (event, bar), and which orders are filled by when."""

    def __init__(self, opened: Floats, high: Floats, low: Floats, close: Floats, plans: Plans, rows: Ints) -> None:
        self.open, self.high, self.low, self.close = opened, high, low, close
        count, width = low.shape
        self.orders, self.stop = plans.orders[rows], plans.stop[rows]
        self.lowest = np.fmin.accumulate(low, axis=1)
        self.highest = np.fmax.accumulate(high, axis=1)
        levels = self.orders.shape[1]
        # The bar in which each order is filled (width: never), and its price there.
        self.fill_bar = np.zeros((count, levels), np.int64)
        self.fill_price = self.orders.copy()
        for level in range(1, levels):
            hit = self.lowest <= self.orders[:, level, None]
            self.fill_bar[:, level] = bar = np.where(hit[:, -1], hit.argmax(axis=1), width)
            at_open = opened[np.arange(count), np.minimum(bar, width - 1)]
            self.fill_price[:, level] = np.fmin(self.orders[:, level], np.where(bar < width, at_open, np.nan))
        # Equal sums are spent on each order, so the average price is the harmonic mean.
        filled = np.arange(1, levels + 1)
        self.average = filled / np.cumsum(1 / self.fill_price, axis=1)
        moving = self.average * (1 + plans.profit[rows, None])
        self.profit = np.where(np.isnan(plans.take_profit[rows, None]), moving, plans.take_profit[rows, None])

    def filled_before(self, events: Ints, bars: Ints) -> Ints:
        """Orders filled before ``bars``, the first included."""
        counted: Ints = 1 + (self.fill_bar[events, 1:] < bars[:, None]).sum(axis=1)
        return counted

    def filled_at_open(self, events: Ints, bars: Ints) -> Ints:
        """Orders filled up to and with the open of ``bars``."""
        here = self.fill_bar[events, 1:] == bars[:, None]
        reached = self.open[events, bars][:, None] <= self.orders[events, 1:]
        counted: Ints = self.filled_before(events, bars) + (here & reached).sum(axis=1)
        return counted

    def decisive(self) -> Flags:
        """(event, bar): whether the event could end in the bar: stop touched, or the lowest take profit of the bar."""
        levels = self.orders.shape[1]
        profit = self.profit[:, 0, None]
        if levels > 1:
            profit = np.broadcast_to(profit, self.low.shape).copy()
            bars = np.arange(self.low.shape[1])
            for level in range(1, levels):
                later = bars >= self.fill_bar[:, level, None]
                np.copyto(profit, self.profit[:, level, None], where=later)
        touched: Flags = (self.low <= self.stop[:, None]) | (self.high >= profit)
        return touched


def _follow(grid: Grid, paths: _Paths, plans: Plans, rows: Ints, minutes: MinuteSource, results: Results) -> None:
    """One bar after the other that could end an event, for all events at once, until each has ended or has no more."""
    decisive = paths.decisive()
    events = np.flatnonzero(decisive.any(axis=1))
    bars = decisive[events].argmax(axis=1)
    while len(events):
        verdicts = _decide(paths, events, bars)
        unclear = np.flatnonzero(verdicts.outcome == _UNCLEAR)
        if len(unclear):
            opens = grid.times(plans.entry[rows[events[unclear]]] + bars[unclear])
            inside = minutes(np.unique(opens))
            for place, moment in zip(unclear.tolist(), opens.tolist(), strict=True):
                _by_minutes(paths, verdicts, place, int(events[place]), int(bars[place]), inside.get(moment))
        done = rows[events]
        results.ambiguous[done] = np.maximum(results.ambiguous[done], verdicts.ambiguous)
        results.outcome[done], results.bars[done] = verdicts.outcome, bars + 1
        results.exit_price[done], results.filled[done] = verdicts.price, verdicts.filled
        going = verdicts.outcome == Outcome.OPEN
        events, bars = events[going], bars[going]
        rest = decisive[events] & (np.arange(decisive.shape[1]) > bars[:, None])
        more = rest.any(axis=1)
        events, bars = events[more], rest[more].argmax(axis=1)
    _time_out(grid, paths, plans, rows, results)
    _measure(paths, rows, results)


@dataclass(slots=True)
class _Verdicts:
    """What bars did, as arrays; ``outcome`` OPEN where nothing ended, _UNCLEAR where minutes must say more."""

    outcome: Ints
    filled: Ints
    price: Floats
    ambiguous: Ints
    #: Orders filled by the bar's open, and by its end if it ends nothing.
    at_open: Ints
    by_end: Ints


def _decide(paths: _Paths, events: Ints, bars: Ints) -> _Verdicts:
    """By the bars alone."""
    opened, high, low = (matrix[events, bars] for matrix in (paths.open, paths.high, paths.low))
    stop, profit = paths.stop[events], paths.profit[events]
    alone = np.arange(len(events))
    before, filled = paths.filled_before(events, bars), paths.filled_at_open(events, bars)
    after = paths.filled_before(events, bars + 1)
    standing, least = profit[alone, filled - 1], profit[alone, after - 1]
    cases = [
        opened <= stop,
        opened >= standing,
        # Not even the lowest take profit of the bar: it ended by the stop, or not at all.
        (high < least) & (low <= stop),
        high < least,
        (low > stop) & (after == filled),
    ]
    return _Verdicts(
        np.select(cases, [Outcome.SL, Outcome.TP, Outcome.SL, Outcome.OPEN, Outcome.TP], _UNCLEAR),
        np.select(cases, [before, filled, after, after, filled], 1),
        np.select(cases, [opened, opened, stop, np.full(len(events), np.nan), standing], np.nan),
        np.zeros(len(events), np.int64),
        filled,
        after,
    )


def _by_minutes(paths: _Paths, verdicts: _Verdicts, place: int, event: int, bar: int, inside: Minutes | None) -> None:
    """Settle an unclear bar: by its minutes where they are all there, else by assuming the order of the rules."""
    high, low, stop = (float(value) for value in (paths.high[event, bar], paths.low[event, bar], paths.stop[event]))
    profit: list[float] = paths.profit[event].tolist()
    filled, after = int(verdicts.at_open[place]), int(verdicts.by_end[place])
    if inside is not None and (traded := inside.of_bar(high, low)) is not None:
        ended, fills, ambiguous = walk_minutes(traded, paths.orders[event].tolist(), filled, stop, profit)
        outcome = Outcome(ended)
    else:
        ambiguous = Ambiguous.ASSUMED
        outcome = Outcome.SL if low <= stop else Outcome.TP if high >= profit[filled - 1] else Outcome.OPEN
        fills = filled if outcome is Outcome.TP else after
    verdicts.outcome[place], verdicts.ambiguous[place] = outcome, ambiguous
    verdicts.filled[place] = after if outcome is Outcome.SL else fills
    if outcome is not Outcome.OPEN:
        verdicts.price[place] = stop if outcome is Outcome.SL else profit[fills - 1]


def _time_out(grid: Grid, paths: _Paths, plans: Plans, rows: Ints, results: Results) -> None:
    """Events that touched nothing: sold at the last close of the path, where the path is all there."""
    width = paths.close.shape[1]
    still = np.flatnonzero(results.outcome[rows] == Outcome.OPEN)
    present = ~np.isnan(paths.close[still])
    last = width - 1 - present[:, ::-1].argmax(axis=1)
    over = plans.entry[rows[still]] + width <= len(grid)
    done = rows[still]
    results.outcome[done] = np.where(over, Outcome.TIME, Outcome.OPEN)
    results.bars[done] = np.where(over, width, len(grid) - plans.entry[done])
    results.exit_price[done] = np.where(over, paths.close[still, last], np.nan)
    results.filled[done] = 1 + (paths.fill_bar[still, 1:] < width).sum(axis=1)


def _measure(paths: _Paths, rows: Ints, results: Results) -> None:
    """Average price, take profit and excursions: bars before the last one whole, of the last one its open and the exit.

    An event that ran out of time has seen its last bar whole too.
    """
    alone = np.arange(len(rows))
    filled, bars = results.filled[rows], results.bars[rows]
    results.average_price[rows] = paths.average[alone, filled - 1]
    results.take_profit[rows] = paths.profit[alone, filled - 1]
    whole = np.isin(results.outcome[rows], (Outcome.TIME, Outcome.OPEN))
    before = np.maximum(bars - 1 - ~whole, 0)
    none = (bars == 1) & ~whole
    last_open = np.where(whole, np.nan, paths.open[alone, bars - 1])
    for target, seen, most in (
        (results.lowest, paths.lowest, np.fmin),
        (results.highest, paths.highest, np.fmax),
    ):
        earlier = np.where(none, np.nan, seen[alone, before])
        target[rows] = most(most(earlier, last_open), results.exit_price[rows])
