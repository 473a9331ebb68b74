"""Which rows may train, by the definition, one pair of labels after the other; and random events to try it on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import polars as pl

_MINUTE = 60_000
START = datetime(2026, 1, 1, tzinfo=UTC)


def random_events(rng: np.random.Generator) -> pl.DataFrame:
    """Up to 60 events on a coarse grid, so that many begin and end at the same moments; horizons up to half of all."""
    rows, grid = int(rng.integers(2, 60)), int(rng.choice([1, 15, 240])) * _MINUTE
    moments = int(START.timestamp() * 1000)
    known = np.sort(rng.integers(0, 200, rows)) * grid + moments
    ends = known + rng.integers(0, int(rng.choice([2, 20, 100])), rows) * grid
    frame = pl.DataFrame({"available_at": known, "label_end_ts": ends})
    return frame.select(pl.all().cast(pl.Datetime("ms", "UTC")))


def overlapping_pairs(events: pl.DataFrame, train: Sequence[int], test: Sequence[int]) -> int:
    """Rows of ``train`` that live at a moment at which a row of ``test`` lives, both ends included."""
    spans = events.select("available_at", "label_end_ts").rows()
    return sum(any(_meet(spans[one], spans[other]) for other in test) for one in train)


def _meet(one: tuple[datetime, datetime], other: tuple[datetime, datetime]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]
