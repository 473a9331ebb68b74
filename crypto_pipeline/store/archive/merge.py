"""Merging of bars that are both in the table and in the archive: the better copy is used, by the precedence of I1.

A writer of a bar of an archived month cannot see the file. So reads merge the copies, and the next archive run or
restore of the month merges them for good. Both use the same rule, independent of the order in which the copies
came.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from crypto_pipeline.store.archive import rows
from crypto_pipeline.store.columns import best_copy
from crypto_pipeline.store.columns.bars import RANKS

KEY = ["instrument", "open_time"]
#: Columns that decide; of two copies that are equal in all of them, the one that was recorded first stays.
DECIDING = ["source" if name == "source_rank" else name for name in best_copy.ORDER]

_RANK = pl.col("source").replace_strict(RANKS, return_dtype=pl.Int16)
_ORDER = [_RANK if name == "source" else pl.col(name) for name in DECIDING]


@dataclass(frozen=True, slots=True)
class Copies:
    """``bars`` (BAR_FILE), one copy each, and the copies that they replaced, ``past`` (REVISION_FILE)."""

    bars: pl.DataFrame
    past: pl.DataFrame

    def of(self, keys: pl.DataFrame) -> Copies:
        """The copies of the bars in ``keys`` (KEY)."""
        return Copies(self.bars.join(keys, on=KEY, how="semi"), self.past.join(keys, on=KEY, how="semi"))


def best(copies: pl.DataFrame) -> pl.DataFrame:
    """The best copy of each bar, sorted by instrument and time. ``copies`` needs KEY, DECIDING and ``recorded_at``."""
    return _best_first(copies).unique(KEY, keep="first", maintain_order=True)


def merge(hot: Copies, archived: Copies) -> Copies:
    """The bars and history that one table would have if it had received all copies; bars sorted by KEY."""
    both = archived.bars.select(KEY)
    if both.height:  # usually no month is archived twice, and the table would be hashed for nothing
        both = both.join(hot.bars, on=KEY, how="semi")
    if both.is_empty():
        bars = pl.concat([hot.bars, archived.bars]).sort(KEY) if archived.bars.height else hot.bars
        return Copies(bars, pl.concat([hot.past, archived.past]))
    merged = _replayed(hot.of(both), archived.of(both))
    alone = [one.join(both, on=KEY, how="anti") for one in (hot.bars, archived.bars)]
    past = [one.join(both, on=KEY, how="anti") for one in (hot.past, archived.past)]
    return Copies(pl.concat([*alone, merged.bars]).sort(KEY), pl.concat([*past, merged.past]))


def _replayed(table: Copies, file: Copies) -> Copies:
    """The history that one table would have: at each time of recording, the better copy of the two places at that
    time.
    """
    places = [pl.concat([one.bars, one.past.select(*rows.BAR_FILE)]) for one in (table, file)]
    moments = pl.concat(places).select(*KEY, pl.col("recorded_at").alias("at")).unique().sort("at")
    said = [
        moments.join_asof(
            place.sort("recorded_at"),
            left_on="at",
            right_on="recorded_at",
            by=KEY,
            coalesce=False,
            check_sortedness=False,
        ).drop_nulls("recorded_at")
        for place in places
    ]
    known = _best_first(pl.concat(said), "at").unique([*KEY, "at"], keep="first", maintain_order=True)
    before = [pl.col(name).shift(1).over(KEY) for name in DECIDING]
    other = [pl.col(name).ne_missing(was) for name, was in zip(DECIDING, before, strict=True)]
    spans = known.filter(pl.any_horizontal(other)).with_columns(
        pl.col("at").alias("recorded_at"), pl.col("at").shift(-1).over(KEY).alias("superseded_at")
    )
    over = pl.col("superseded_at").is_not_null()
    return Copies(spans.filter(~over).select(*rows.BAR_FILE), spans.filter(over).select(*rows.REVISION_FILE))


def _best_first(copies: pl.DataFrame, *within: str) -> pl.DataFrame:
    by = [*KEY, *within]
    falling = [*[False] * len(by), *[True] * len(_ORDER), False]
    return copies.sort(*by, *_ORDER, "recorded_at", descending=falling, nulls_last=True)
