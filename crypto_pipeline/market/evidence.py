"""What is known about missing bars, and what it says of each missing minute taken alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe

Array = NDArray[np.int64]
Mask = NDArray[np.bool_]

#: Siblings are taken to be silent together by chance when that is likelier than this (natural logarithm).
_CHANCE = -math.log(1e-6)
_STATED = 0.9


@dataclass(frozen=True, slots=True)
class TradeProof:
    """What the venue's trades say of ``[start, end)``.

    ``trades`` has ``time`` and ``trade_id``, ascending (TRADE_SCHEMA will do). ``id_before`` is the last id before
    ``start`` and ``id_after`` the first at or after ``end``, None where the venue cannot say.
    """

    start: datetime
    end: datetime
    trades: pl.DataFrame
    id_before: int | None = None
    id_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything known about one missing span of one series. What was not looked at is None.

    ``attempts`` are fetches that did not bring the bars, the present one included.

    ``sibling_bars`` has ``open_time`` and ``active``, how many of the ``siblings`` other instruments of the venue have
    a bar there; open times that are not in it count as 0. ``sibling_rate`` is the share of their expected bars that
    siblings ordinarily have: where it is low, silence together may be chance, and only a long silence is an outage.
    """

    settled_until: datetime
    attempts: int = 0
    max_attempts: int = 5
    listed: datetime | None = None
    delisted: datetime | None = None
    states_empty_bars: bool = False
    contiguous_trade_ids: bool = False
    siblings: int = 0
    sibling_bars: pl.DataFrame | None = None
    sibling_rate: float | None = None
    venue_down: bool | None = None
    answered_before: bool = False
    answered_after: bool = False
    trades: TradeProof | None = None


class Heard(IntEnum):
    """What the trades say of one window."""

    NOT_ASKED = 0
    EMPTY = 1
    PROVEN_SILENT = 2
    TRADED = 3
    IDS_MISSING = 4


def sibling_activity(
    present: pl.DataFrame, instrument: str, timeframe: Timeframe, start: datetime, end: datetime
) -> pl.DataFrame:
    """``[open_time, active]`` from bars ``[instrument, open_time]``: others than ``instrument`` in ``[start, end)``."""
    inside = (pl.col("instrument") != instrument) & pl.col("open_time").is_between(
        timeframe.floor(start), pl.lit(end), closed="left"
    )
    counted = present.lazy().filter(inside).group_by("open_time")
    return counted.agg(pl.col("instrument").n_unique().alias("active")).sort("open_time").collect()


def grid(start: datetime, end: datetime, timeframe: Timeframe) -> Array:
    """Open times in ``[start, end)`` as milliseconds; the edges lie on the grid."""
    return np.arange(_ms(start), _ms(end), timeframe.milliseconds, dtype=np.int64)


def active_siblings(opens: Array, evidence: Evidence) -> Array:
    """How many siblings have a bar in each window."""
    active = np.zeros(len(opens), dtype=np.int64)
    if evidence.sibling_bars is not None and evidence.sibling_bars.height:
        times = evidence.sibling_bars["open_time"].cast(UTC_MS).to_physical().to_numpy()
        counts = evidence.sibling_bars["active"].to_numpy()
        order = np.argsort(times, kind="stable")
        at = np.minimum(np.searchsorted(times[order], opens), len(times) - 1)
        hit = times[order][at] == opens
        active[hit] = counts[order][at][hit]
    return active


def outage(opens: Array, active: Array, evidence: Evidence, max_active: int) -> Mask:
    """Windows in which the venue as a whole was silent: no sibling has a bar, and that is not chance."""
    none = np.zeros(len(opens), dtype=np.bool_)
    if evidence.sibling_bars is None or not evidence.siblings:
        return none
    # One sibling may be quiet by itself; then the venue has to be known to be down.
    if evidence.siblings < 2 and not evidence.venue_down:
        return none
    silent: Mask = active <= max_active
    rate = evidence.sibling_rate
    if evidence.venue_down or (evidence.states_empty_bars and (rate is None or rate >= _STATED)):
        return silent
    if rate is None or rate <= 0:
        return none
    surprise = -evidence.siblings * math.log(max(1.0 - rate, 1e-12))
    for first, last in runs(silent):
        none[first:last] = (last - first) * surprise >= _CHANCE
    return none


def runs(mask: Mask) -> list[tuple[int, int]]:
    """Positions ``[first, last)`` of each stretch of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.view(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def heard(opens: Array, timeframe: Timeframe, evidence: Evidence) -> Array:
    """What the trades say of each window, as Heard values."""
    says = np.full(len(opens), Heard.NOT_ASKED, dtype=np.int64)
    proof = evidence.trades
    if proof is None:
        return says
    width = timeframe.milliseconds
    says[(opens >= _ms(proof.start)) & (opens + width <= _ms(proof.end))] = Heard.EMPTY
    times = proof.trades["time"].cast(UTC_MS).to_physical().to_numpy()
    if evidence.contiguous_trade_ids:
        _walk_ids(says, opens, width, times, proof)
    # Last, because nothing outweighs a trade that was seen.
    says[np.isin(opens, (times - opens[0]) // width * width + opens[0])] = Heard.TRADED
    return says


def _walk_ids(says: Array, opens: Array, width: int, times: Array, proof: TradeProof) -> None:
    """From one known id to the next: consecutive ids prove that nothing traded between, a jump that something did."""
    ids = proof.trades["trade_id"].to_numpy().astype(np.int64)
    if proof.id_before is not None:
        ids, times = np.append(proof.id_before, ids), np.append(_ms(proof.start), times)
    if proof.id_after is not None:
        ids, times = np.append(ids, proof.id_after), np.append(times, _ms(proof.end))
    if len(ids) < 2:
        return
    asked = says == Heard.EMPTY
    says[asked & (opens >= times[0]) & (opens + width <= times[-1])] = Heard.PROVEN_SILENT
    for jump in np.flatnonzero(np.diff(ids) > 1):
        says[asked & (opens + width > times[jump]) & (opens <= times[jump + 1])] = Heard.IDS_MISSING


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
