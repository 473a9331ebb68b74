"""A bar that lies in its table and in the archive: the better copy is believed, by the precedence of invariant I1.

Whoever writes a bar of an archived month cannot see the file. So copies meet where they are read together, and for good
when the month is archived or restored the next time; both go by the same rule, whichever copy came later.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from crypto_pipeline.store.archive import rows
from crypto_pipeline.store.columns import best_copy
from crypto_pipeline.store.columns.bars import RANKS

KEY = ["instrument", "open_time"]
#: Columns of frames that decide; of two copies that are equal in all of them the one known longer stays.
DECIDING = ["source" if name == "source_rank" else name for name in best_copy.ORDER]

_RANK = pl.col("source").replace_strict(RANKS, return_dtype=pl.Int16)
_ORDER = [_RANK if name == "source" else pl.col(name) for name in DECIDING]


@dataclass(frozen=True, slots=True)
class Copies:
    """``bars`` in BAR_FILE, one of each, and in REVISION_FILE the ``past`` copies that they took the place of."""

    bars: pl.DataFrame
    past: pl.DataFrame

    def of(self, keys: pl.DataFrame) -> Copies:
        """Those of the bars that ``keys`` (KEY) names."""
        return Copies(self.bars.join(keys, on=KEY, how="semi"), self.past.join(keys, on=KEY, how="semi"))


def best(copies: pl.DataFrame) -> pl.DataFrame:
    """Of each bar the best of its copies, sorted by instrument and time. Needs KEY, DECIDING and ``recorded_at``."""
    return _best_first(copies).unique(KEY, keep="first", maintain_order=True)


def merge(hot: Copies, archived: Copies) -> Copies:
    """The copies of table and archive as one table would have them had it seen them all; bars sorted by KEY."""
    both = archived.bars.join(hot.bars, on=KEY, how="semi").select(KEY)
    if both.is_empty():
        bars = pl.concat([hot.bars, archived.bars]).sort(KEY) if archived.bars.height else hot.bars
        return Copies(bars, pl.concat([hot.past, archived.past]))
    merged = _replayed(hot.of(both), archived.of(both))
    alone = [one.join(both, on=KEY, how="anti") for one in (hot.bars, archived.bars)]
    past = [one.join(both, on=KEY, how="anti") for one in (hot.past, archived.past)]
    return Copies(pl.concat([*alone, merged.bars]).sort(KEY), pl.concat([*past, merged.past]))


def _replayed(table: Copies, file: Copies) -> Copies:
    """What had become of all copies in one table: from every moment at which one was recorded on, the better of what
    the two places then said.
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
