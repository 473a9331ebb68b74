"""Corrections: what is booked of a trade compared with what the bars say now, where bars were healed under it.

Bookings are never changed in place. From the first fill that differs on, those that stand are taken back by events of
their own, newest first, and the trade goes on from there: what its path says now is booked after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from crypto_pipeline.trading.account import OpenTrade
from crypto_pipeline.trading.ledger.booking import BookedFill
from crypto_pipeline.trading.paths import TradePaths


class StandingFill(NamedTuple):
    """A fill that is booked and was not taken back, with the number of its event."""

    number: int
    fill: BookedFill


@dataclass(frozen=True, slots=True)
class Correction:
    """A trade as it is booked, its ``standing`` fills, and which of them is the first that is taken back.

    ``ended``: it is booked as ended, or as never entered.
    """

    trade: OpenTrade
    standing: tuple[StandingFill, ...]
    first: int
    ended: bool


def correction_of(
    trade: OpenTrade, standing: Sequence[StandingFill], *, ended: bool, paths: TradePaths, row: int, moment: int
) -> Correction | None:
    """What must be corrected of a trade whose path is at ``row``; None: it is booked as the bars say.

    ``moment``: the last one that was processed; what the path says of later bars is booked in its time.
    """
    begin, end = int(paths.first_fill[row]), int(paths.first_fill[row + 1])
    due = [place for place in range(begin, end) if int(paths.fill_ts[place]) + paths.step <= moment]
    first = 0
    for (_, fill), place in zip(standing, due, strict=False):
        now = (int(paths.fill_use[place]), int(paths.fill_ts[place]), float(paths.fill_raw[place]))
        if now != (int(fill.use), fill.bar_ts, float(fill.raw)):
            break
        first += 1
    if first == len(standing) == len(due):
        return None
    return Correction(replace(trade), tuple(standing), first, ended)
