"""Which copies bring the mirror from the bars that it has to those that PostgreSQL has. Pure functions on frames."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from crypto_pipeline.lake.clickhouse.tables import CONTENT, COPY_SCHEMA, KEY
from crypto_pipeline.store.columns.bars import RANKS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: What a removed bar says: less than any bar in all that decides, so that a bar that comes back needs no new epoch.
_NOTHING = {
    "source": "",
    "complete": False,
    "revision": _EPOCH,
    "recorded_at": _EPOCH,
    **dict.fromkeys(("open", "high", "low", "close", "volume"), 0.0),
}


def changes(now: pl.DataFrame, there: pl.DataFrame) -> pl.DataFrame:
    """The copies to send, in COPY_SCHEMA.

    ``now``: the bars of some cells in PostgreSQL (KEY, CONTENT, ``data_version``); ``there``: the mirror's best copies
    of the same cells (COPY_SCHEMA). A copy that would lose against what the mirror has gets the next epoch.
    """
    both = now.join(there, on=list(KEY), how="left", suffix="_there", maintain_order="left")
    absent = pl.col("removed").is_null() | pl.col("removed")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_there")) for name in CONTENT)
    loses = pl.col("removed").is_not_null() & ~_greater()
    epoch = pl.col("epoch").fill_null(0) + loses.cast(pl.UInt16)
    sent = both.filter(absent | differs).with_columns(epoch.alias("epoch"), removed=pl.lit(False))
    gone = there.filter(~pl.col("removed")).join(now, on=list(KEY), how="anti")
    nothing = [pl.lit(_NOTHING.get(name), COPY_SCHEMA[name]).alias(name) for name in CONTENT]
    left = gone.with_columns(*nothing, pl.col("epoch") + 1, removed=pl.lit(True))
    return pl.concat([frame.select(pl.col(n).cast(t) for n, t in COPY_SCHEMA.items()) for frame in (sent, left)])


def _greater() -> pl.Expr:
    """Whether a row's own copy is greater than the one ``_there`` of the same epoch, as ``version`` orders them."""
    verdict = pl.lit(False)
    for name in ("data_version", "revision", "source", "complete"):
        ours, theirs = _order(name), _order(f"{name}_there")
        verdict = (ours > theirs) | ((ours == theirs) & verdict)
    return verdict


def _order(name: str) -> pl.Expr:
    column = pl.col(name)
    ranked = column.replace_strict(RANKS, default=0, return_dtype=pl.UInt16)
    return ranked if name.startswith("source") else column.cast(pl.Int64)
