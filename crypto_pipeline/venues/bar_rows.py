"""Checks rows of bars that a venue stated: valid rows in time order without duplicates, other rows with a reason."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from crypto_pipeline.market.sanity import MAX_MS, bar_faults
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues.protocol import RejectedRow, shorten

log = logging.getLogger(__name__)

_MONDAY = 4 * 86_400_000  # 1970-01-05, in ms
#: Open times (Unix ms, int64), columns by name (float64), trade counts (int64) or None.
Rows = tuple[NDArray[np.int64], dict[str, NDArray[np.float64]], NDArray[np.int64] | None]


def sift(
    rows: Rows,
    instrument: str,
    timeframe: Timeframe,
    span: tuple[int, int] | None = None,
    doubtful: NDArray[np.bool_] | None = None,
) -> tuple[Rows, list[RejectedRow]]:
    """The rows that are valid bars of ``span`` [start, end) in Unix ms, by rising open time, and the rejected rows.

    Equal rows with one open time are one bar. Different rows with one open time are all rejected, except that only the
    ``doubtful`` ones are (another field contradicts their open time) if there are others. Rows off the timeframe's grid
    are dropped with a warning.
    """
    times, values, counts = rows
    refused: list[RejectedRow] = []
    faults = _wrong_times(times, span) | bar_faults(values, counts, timeframe.minutes)
    if faults:
        refused += [_refused(rows, place, why) for place, why in faults.items()]
        keep = np.ones(len(times), dtype=np.bool_)
        keep[list(faults)] = False
        rows, doubtful = _take(rows, keep), None if doubtful is None else doubtful[keep]
        times = rows[0]
    if len(times) > 1 and not (times[1:] > times[:-1]).all():
        order = np.argsort(times, kind="stable")
        rows, doubtful = _take(rows, order), None if doubtful is None else doubtful[order]
        rows, twice = _once(rows, doubtful)
        refused += twice
        times = rows[0]
    anchor = _MONDAY if timeframe is Timeframe.W1 else 0
    on_grid = (times - anchor) % timeframe.milliseconds == 0
    if not on_grid.all():
        # Binance has a few such rows around its outages of 2017 and 2018.
        log.warning("%s %s: left out %d bars off the grid", instrument, timeframe, (~on_grid).sum())
        rows = _take(rows, on_grid)
    if refused:
        log.warning("%s %s: refused %d rows, first: %s", instrument, timeframe, len(refused), refused[0].reason)
    return rows, refused


def _wrong_times(times: NDArray[np.int64], span: tuple[int, int] | None) -> dict[int, str]:
    first, last = span or (0, MAX_MS)
    wrong = np.flatnonzero((times < first) | (times >= last))
    if not len(wrong):
        return {}
    return {
        int(place): "its time is in another unit"
        if not 0 <= times[place] < MAX_MS
        else "its time is outside of the requested span"
        for place in wrong
    }


def _once(rows: Rows, doubtful: NDArray[np.bool_] | None) -> tuple[Rows, list[RejectedRow]]:
    """Rows by rising time, each time once, and the rejected rows."""
    times, values, counts = rows
    columns = [*values.values(), *([] if counts is None else [counts])]
    keep = np.ones(len(times), dtype=np.bool_)
    refused: list[RejectedRow] = []
    starts = np.flatnonzero(np.r_[True, times[1:] != times[:-1]])
    ends = np.r_[starts[1:], len(times)]
    for first, last in zip(starts.tolist(), ends.tolist(), strict=True):
        if last - first == 1:
            continue
        places = list(range(first, last))
        if doubtful is not None and 0 < doubtful[first:last].sum() < last - first:
            for place in [each for each in places if doubtful[each]]:
                refused.append(
                    _refused(rows, place, "its times contradict each other, and another row has its open time")
                )
                keep[place] = False
            places = [each for each in places if not doubtful[each]]
        if all(bool((column[places] == column[places[0]]).all()) for column in columns):
            keep[places[1:]] = False
            continue
        keep[places] = False
        refused += [_refused(rows, place, "the venue sent different rows for this bar") for place in places]
    return _take(rows, keep), refused


def _take(rows: Rows, which: NDArray[np.bool_] | NDArray[np.int64]) -> Rows:
    times, values, counts = rows
    return (
        times[which],
        {name: column[which] for name, column in values.items()},
        None if counts is None else counts[which],
    )


def _refused(rows: Rows, place: int, why: str) -> RejectedRow:
    times, values, counts = rows
    said = {name: float(column[place]) for name, column in values.items()}
    if counts is not None:
        said["trade_count"] = int(counts[place])
    ms = int(times[place])
    return RejectedRow(ms if 0 <= ms < MAX_MS else None, why, shorten(_shown(ms, said)))


def _shown(ms: int, said: Mapping[str, float]) -> str:
    return f"open_time {ms}, " + ", ".join(f"{name} {value:g}" for name, value in said.items())
