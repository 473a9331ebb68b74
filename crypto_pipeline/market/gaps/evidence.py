"""Evidence about missing bars, and what it shows of each missing minute by itself."""

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
from crypto_pipeline.market.times import unix_ms

Array = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

#: Fewer instruments than this prove nothing about the venue as a whole: one may be halted by itself. Two that usually
#: have bars do not stop in the same minute unless the venue does: of the twelve pairs recorded in April 2021 no two
#: lack the same minute outside the venue's two outages.
WITNESSES = 2
#: Silence of all witnesses counts as chance when its probability is higher than this (natural logarithm). Each silence
#: counts as if it were five times shorter, because recorded silences come in clusters: the longest of an instrument are
#: up to 4.5 times as long as those of minutes that do not depend on each other.
_CHANCE = -math.log(1e-6) * 5
_STATED = 0.9
#: Frame of witnesses: spans in which another instrument was fetched, listed, and expected to have bars. ``rate`` is the
#: share of its bars that it has while the venue works; null: not known.
WITNESS_SCHEMA = {"start": UTC_MS, "end": UTC_MS, "rate": pl.Float64()}


@dataclass(frozen=True, slots=True)
class TradeProof:
    """The venue's trades in ``[start, end)``.

    ``trades`` is in TRADE_SCHEMA, ascending. ``id_before`` is the last id before ``start`` and ``id_after`` the first
    at or after ``end``, None where the venue cannot say; ``single_before`` and ``single_after`` are the individual
    trades next to the span, where those are aggregates.
    """

    start: datetime
    end: datetime
    trades: pl.DataFrame
    id_before: int | None = None
    id_after: int | None = None
    single_before: int | None = None
    single_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The evidence about one missing span of one series. None: not examined.

    ``attempts`` are requests that did not bring the bars, the present one included.

    ``sibling_bars`` has ``open_time`` and ``active``, how many other instruments of the venue have a bar there; open
    times that are not in it count as 0. ``witnesses`` (WITNESS_SCHEMA) are those whose silence counts: where their
    rate is low, silence of all may be chance, and only a long one is an outage.

    ``absence_is_silence``: a bar that the venue leaves out between others says that nothing was traded. Otherwise only
    trades say so: ``trades`` then has one on either side of its span, and all between them.

    ``own_rate``, of an instrument that its exchange may halt: the share of its windows in which it has a bar.
    """

    settled_until: datetime
    attempts: int = 0
    max_attempts: int = 5
    listed: datetime | None = None
    delisted: datetime | None = None
    states_empty_bars: bool = False
    contiguous_trade_ids: bool = False
    absence_is_silence: bool = True
    sibling_bars: pl.DataFrame | None = None
    witnesses: pl.DataFrame | None = None
    venue_down: bool | None = None
    answered_before: bool = False
    answered_after: bool = False
    trades: TradeProof | None = None
    own_rate: float | None = None


class Heard(IntEnum):
    """What the trades show of one window."""

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
    return np.arange(unix_ms(start), unix_ms(end), timeframe.milliseconds, dtype=np.int64)


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


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Witnesses per window; every array has one entry for each window.

    Attributes:
        count: Witnesses.
        steady: Those that nearly always have a bar, or whose rate is not known.
        usual: Bars that the witnesses usually have.
        surprise: Minus the logarithm of the chance that all of them are silent.
    """

    count: Array
    steady: Array
    usual: Floats
    surprise: Floats


def witnesses(opens: Array, timeframe: Timeframe, evidence: Evidence) -> Witnesses:
    """The witnesses in each window: only instruments that were fetched, listed and expected at that time."""
    size = len(opens) + 1
    count, steady = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    usual, surprise = np.zeros(size), np.zeros(size)
    if evidence.witnesses is not None:
        for start, end, rate in evidence.witnesses.select(*WITNESS_SCHEMA).iter_rows():
            low = int(np.searchsorted(opens, unix_ms(start), side="left"))
            high = int(np.searchsorted(opens, unix_ms(end) - timeframe.milliseconds, side="right"))
            if low >= high:
                continue
            for totals, value in (
                (count, 1),
                (steady, int(rate is None or rate >= _STATED)),
                (usual, 1.0 if rate is None else rate),
                (surprise, 0.0 if rate is None else -math.log(max(1.0 - rate, 1e-12))),
            ):
                totals[low] += value
                totals[high] -= value
    return Witnesses(np.cumsum(count)[:-1], np.cumsum(steady)[:-1], np.cumsum(usual)[:-1], np.cumsum(surprise)[:-1])


def outage(active: Array, seen: Witnesses, evidence: Evidence, max_active: int) -> Mask:
    """Windows in which the venue as a whole was silent: no instrument has a bar, and that is not chance."""
    if evidence.sibling_bars is None:
        return np.zeros(len(active), dtype=np.bool_)
    silent: Mask = active <= max_active
    if evidence.venue_down:  # known; a witness shows that the instrument was silent together with others
        return silent & (seen.count > 0)
    down: Mask = silent & (seen.steady >= WITNESSES) & evidence.states_empty_bars
    silent &= seen.count >= WITNESSES
    for first, last in runs(silent):
        down[first:last] |= seen.surprise[first:last].sum() >= _CHANCE
    return down


def runs(mask: Mask) -> list[tuple[int, int]]:
    """Positions ``[first, last)`` of each stretch of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.view(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def heard(opens: Array, timeframe: Timeframe, evidence: Evidence) -> Array:
    """What the trades show of each window, as Heard values."""
    says = np.full(len(opens), Heard.NOT_ASKED, dtype=np.int64)
    proof = evidence.trades
    if proof is None:
        return says
    width = timeframe.milliseconds
    says[(opens >= unix_ms(proof.start)) & (opens + width <= unix_ms(proof.end))] = Heard.EMPTY
    times = proof.trades["time"].cast(UTC_MS).to_physical().to_numpy()
    if evidence.contiguous_trade_ids:
        _walk_ids(says, opens, width, times, proof)
    # Last, because a trade outweighs everything else.
    says[np.isin(opens, (times - opens[0]) // width * width + opens[0])] = Heard.TRADED
    return says


def _walk_ids(says: Array, opens: Array, width: int, times: Array, proof: TradeProof) -> None:
    """From one known id to the next: consecutive ids prove that nothing traded between, a jump that something did.

    The individual trades that aggregates sum have to run on as well.
    """
    ids, firsts, lasts = (
        proof.trades[name].to_numpy().astype(np.int64) for name in ("trade_id", "first_id", "last_id")
    )
    if proof.id_before is not None:
        # an unknown id of a neighbour is no jump
        single = proof.single_before
        if single is None:
            single = int(firsts[0]) - 1 if len(firsts) else (proof.single_after or 0) - 1
        ids, times = np.append(proof.id_before, ids), np.append(unix_ms(proof.start), times)
        firsts, lasts = np.append(single, firsts), np.append(single, lasts)
    if proof.id_after is not None:
        single = proof.single_after
        if single is None:
            single = int(lasts[-1]) + 1 if len(lasts) else 0
        ids, times = np.append(ids, proof.id_after), np.append(times, unix_ms(proof.end))
        firsts, lasts = np.append(firsts, single), np.append(lasts, single)
    if len(ids) < 2:
        return
    asked = says == Heard.EMPTY
    says[asked & (opens >= times[0]) & (opens + width <= times[-1])] = Heard.PROVEN_SILENT
    for jump in np.flatnonzero((np.diff(ids) > 1) | (firsts[1:] > lasts[:-1] + 1)):
        says[asked & (opens + width > times[jump]) & (opens <= times[jump + 1])] = Heard.IDS_MISSING
