"""Which closed bars can be scanned, and which one is still waited for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from crypto_pipeline.arrays.grid import take
from crypto_pipeline.arrays.panel import Flags, Panel
from crypto_pipeline.market.times import from_unix_ms


@dataclass(frozen=True, slots=True)
class Readiness:
    """``count`` places from the first on can be scanned; then the instruments at ``waits_for`` (numbers) are waited
    for, since ``since``. None: nothing is waited for.
    """

    count: int
    since: datetime | None = None
    waits_for: tuple[int, ...] = ()


def known_bars(panel: Panel, hours: Panel, accounted_for: Flags, *, trend: tuple[int, Panel] | None = None) -> Flags:
    """Per instrument and 15m bar: nothing more is to come. ``accounted_for``: the bar is there or explained.

    Before its first bar nothing comes from an instrument. Where a bar closes an hour whose four bars are there, the
    hour's own bar is to be there too. ``trend``: the benchmark's place in the panel and its 4h bars, likewise.
    """
    begun = np.arange(panel.width) >= panel.first()[:, None]
    present = ~np.isnan(panel.close)
    awaited = _awaited(panel, present, hours)
    if trend is not None:
        place, four = trend
        own = slice(place, place + 1)
        awaited[own] |= _awaited(panel, present[own], four)
    known: Flags = (accounted_for & ~awaited) | ~begun
    return known


def _awaited(panel: Panel, present: Flags, wider: Panel) -> Flags:
    """Where a bar closes a window of ``wider`` whose bars are all there, and the window's own bar is not."""
    bars = wider.grid.step // panel.grid.step
    whole = present.copy()
    for back in range(1, bars):
        whole[:, back:] &= present[:, :-back]
    whole[:, : bars - 1] = False
    ends = (panel.grid.open_times() // panel.grid.step + 1) % bars == 0
    awaited: Flags = ends & whole & np.isnan(take(wider.close, panel.grid.closed_at(wider.grid, 0)))
    return awaited


def ready(
    panel: Panel, known: Flags, first: int, *, now: datetime, waits_since: datetime | None, deadline: timedelta
) -> Readiness:
    """The places from ``first`` on that can be scanned at ``now`` (UTC).

    A bar can be scanned when every instrument's is known, or ``deadline`` after its close. That time counts from the
    first look at it (``waits_since``) where this was later: after a standstill bars are healed while they are waited
    for, and of the bars behind the first one nobody has to wait anew.
    """
    closes = panel.grid.open_times(first) + panel.grid.step
    waited = waits_since is not None and now - waits_since >= deadline
    all_known = np.logical_and.reduce(known[:, first:], axis=0)
    for count, close in enumerate(closes.tolist()):
        if all_known[count] or (waited and now - from_unix_ms(close) >= deadline):
            continue
        since = waits_since if waits_since is not None and count == 0 else now
        return Readiness(count, since, tuple(np.flatnonzero(~known[:, first + count]).tolist()))
    return Readiness(len(closes))
