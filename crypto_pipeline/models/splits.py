"""Splits by time: walk-forward folds, the hold-out, and the rows that calibrate. Never a shuffled split.

A label lives from its signal to its end, and two labels that live at the same time share returns. So train keeps only
labels that had ended before the first test signal was known (purging by their ends, not by a number of rows), and where
train follows test it begins a day after the last label of the test has ended (embargo).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Ints
from crypto_pipeline.models.events import milliseconds

EMBARGO = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Fold:
    """Row numbers of train and test; test has the signals known in ``[test_start, test_end)`` (UTC)."""

    test_start: datetime
    test_end: datetime
    train: Ints
    test: Ints


def fold(
    events: pl.DataFrame, test_start: datetime, test_end: datetime, *, after: bool = False, embargo: timedelta = EMBARGO
) -> Fold:
    """Train and test rows of ``events`` (``available_at``, ``label_end_ts``) for one span of test.

    Train has the labels that ended before ``test_start`` and, with ``after``, the signals known ``embargo`` or later
    after both ``test_end`` and the last label of the test.
    """
    known, ends = milliseconds(events, "available_at"), milliseconds(events, "label_end_ts")
    begin, until = _ms(test_start), _ms(test_end)
    test = np.flatnonzero((known >= begin) & (known < until))
    train = ends < begin
    if after:
        last = max(until, int(ends[test].max())) if len(test) else until
        train |= (known > last) & (known >= last + embargo // timedelta(milliseconds=1))
    return Fold(test_start, test_end, np.flatnonzero(train), test)


def walk_forward(events: pl.DataFrame, end: datetime, *, folds: int = 6, days: int = 14) -> list[Fold]:
    """``folds`` tests of ``days`` each that follow one another and end at ``end``; each trains on all before it."""
    width = timedelta(days=days)
    starts = [end - width * (folds - number) for number in range(folds)]
    return [fold(events, start, start + width) for start in starts]


def calibration_rows(events: pl.DataFrame, train: Ints, share: float = 0.15) -> tuple[Ints, Ints]:
    """Of the rows ``train``: those that fit, and the last ``share`` of them by time, which calibrate.

    Rows that fit had ended before the first of the others was known; signals of one moment stay together.
    """
    known, ends = milliseconds(events, "available_at")[train], milliseconds(events, "label_end_ts")[train]
    count = math.ceil(len(train) * share)
    if not count:
        return train, train[:0]
    begin = np.sort(known)[len(train) - count]
    return train[ends < begin], train[known >= begin]


def overlaps(events: pl.DataFrame, train: Ints, test: Ints) -> int:
    """How many rows of ``train`` live at the same time as any row of ``test``, in one pass over sorted times.

    A label lives from ``available_at`` to ``label_end_ts``, both included.
    """
    known, ends = milliseconds(events, "available_at"), milliseconds(events, "label_end_ts")
    begins, closes = np.sort(known[test]), np.sort(ends[test])
    begun = np.searchsorted(begins, ends[train], side="right")  # tests that begin no later than the train label ends
    over = np.searchsorted(closes, known[train], side="left")  # tests that ended before the train signal was known
    return int((begun > over).sum())


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
