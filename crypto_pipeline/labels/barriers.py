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

import numpy as np

from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.labels.barrier_types import UNCLEAR, PathBars, Plans, Results
from crypto_pipeline.labels.intrabar import MinuteSource, no_minutes


def touch(panel: Panel, plans: Plans, horizon: int, minutes: MinuteSource = no_minutes) -> Results:
    """Follow every event for at most ``horizon`` bars. Entry bars must be present. About 1 µs an event."""
    from crypto_pipeline.labels.kernels import follow  # late: numba takes half a second to import

    bars = PathBars(*(column.ravel() for column in (panel.open, panel.high, panel.low, panel.close)))
    results = Results.at_entry(plans)
    events = np.arange(len(plans.entry))
    follow(bars, plans, horizon, events, no_minutes(events, events), False, results)
    while len(events := np.flatnonzero(results.outcome == UNCLEAR)):
        number, place = np.divmod(plans.entry[events] + results.bars[events], panel.width)
        inside = minutes(number, panel.times(place))
        follow(bars, plans, horizon, events, inside, True, results)
    return results
