"""Which copy of a bar is believed (invariant I1): a total order that depends on the copies alone.

Complete before incomplete, then the source's rank, then the newer revision. Copies that are equal in all three are
ordered by their content, so that the same copies give the same bar in whatever order they come.
"""

from __future__ import annotations

import polars as pl

from crypto_pipeline.market.bars import OPTIONAL_COLUMNS, Source

#: Columns after (complete, rank, revision) that break ties, least important last; nulls come first.
_FIRST = ("trade_count", "volume", "quote_volume", "open", "high", "low", "close", "taker_buy_volume")
TIE_BREAKERS = (*_FIRST, *(name for name in OPTIONAL_COLUMNS if name not in _FIRST))
_RANKS = {str(source): source.rank for source in Source}


def source_rank(column: str = "source") -> pl.Expr:
    """Polars expression: the rank of ``column``'s source. An unknown source fails the query."""
    return pl.col(column).replace_strict(_RANKS, return_dtype=pl.Int16)


def best_copies(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per bar, the best of its copies, sorted by (instrument, [timeframe,] open_time).

    Copies are rows of BAR_SCHEMA with the same instrument and open time (and timeframe, if that is a column).
    """
    key = [name for name in ("instrument", "timeframe", "open_time") if name in frame.columns]
    if not frame.select(pl.struct(key).is_duplicated().any()).item():
        return frame.sort(key)
    if strangers := set(frame["source"].unique()) - set(_RANKS):
        raise ValueError(f"unknown source {sorted(map(str, strangers))[0]!r}: use one of {', '.join(_RANKS)}")
    order = [name for name in TIE_BREAKERS if name in frame.columns]
    return (
        frame.with_columns(source_rank().alias("_rank"))
        .sort([*key, "complete", "_rank", "revision", *order], nulls_last=False)
        .unique(key, keep="last", maintain_order=True)
        .drop("_rank")
    )
