"""Bars from trades: one function for history and for live bars, so that both give the same rows (invariant I6)."""

from __future__ import annotations

import polars as pl

from crypto_pipeline.market.bars import BAR_SCHEMA, UTC_MS, BarOrigin, as_bars
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.trades.individual_trades import new_singles

_STEPS = ("id_in", "id_out", "single_in", "single_out")


def bars_from_trades(
    trades: pl.DataFrame,
    timeframe: Timeframe,
    *,
    source: BarOrigin,
    revision: object,
    id_before: int | None = None,
    id_after: int | None = None,
    single_before: int | None = None,
    single_after: int | None = None,
) -> pl.DataFrame:
    """One bar (BAR_SCHEMA) for each window of ``timeframe`` in which a trade of TRADE_SCHEMA happened.

    The trades are of one instrument, each at most once. Open and close are the first and last by trade id; the count is
    that of individual trades. A bar is ``complete`` when no id is missing inside it or at either edge: the ids are
    consecutive from the window before (or ``id_before``) to the window after (or ``id_after``), and so are the ids of
    the individual trades in them (``single_before``: the last one before; ``single_after``: the first one after). An
    edge without a known neighbour counts as complete. An individual trade that several aggregates of a window sum is
    counted once, and the bar is not complete. Sums add trade after trade in the order of ids, so a running sum has the
    same digits.
    """
    if trades.is_empty():
        return pl.DataFrame(schema=BAR_SCHEMA)
    ordered = trades.sort("trade_id").with_columns(
        pl.col("time").dt.truncate(str(timeframe)).cast(UTC_MS).alias("open_time"),
        (pl.col("trade_id") - pl.col("trade_id").shift(1, fill_value=id_before)).fill_null(1).alias("id_in"),
        (pl.col("trade_id").shift(-1, fill_value=id_after) - pl.col("trade_id")).fill_null(1).alias("id_out"),
        (pl.col("first_id") - pl.col("last_id").shift(1, fill_value=single_before)).fill_null(1).alias("single_in"),
        (pl.col("first_id").shift(-1, fill_value=single_after) - pl.col("last_id")).fill_null(1).alias("single_out"),
        (pl.col("last_id") - pl.col("first_id") + 1).alias("singles"),
    )
    whole = pl.all_horizontal(pl.col(step) == 1 for step in _STEPS) & (pl.col("singles") > 0)
    ordered = ordered.with_columns(whole.alias("whole"))
    if (ordered["single_in"] < 1).any():
        ordered = _counted_once(ordered)
    bought = pl.when(pl.col("taker_side") == "buy").then(pl.col("quantity")).otherwise(0.0)
    bars = ordered.group_by("instrument", "open_time", maintain_order=True).agg(
        pl.col("price").first().alias("open"),
        pl.col("price").max().alias("high"),
        pl.col("price").min().alias("low"),
        pl.col("price").last().alias("close"),
        pl.col("quantity").cum_sum().last().alias("volume"),
        (pl.col("price") * pl.col("quantity")).cum_sum().last().alias("quote_volume"),
        bought.cum_sum().last().alias("taker_buy_volume"),
        pl.col("singles").sum().alias("trade_count"),
        pl.lit(str(source)).alias("source"),
        pl.col("whole").all().alias("complete"),
        pl.lit(revision, UTC_MS).alias("revision"),
    )
    return as_bars(bars).sort("open_time")


def _counted_once(ordered: pl.DataFrame) -> pl.DataFrame:
    """The same windows without repetitions; ``singles`` counts trades that no earlier aggregate of the window sums."""
    windows = []
    for window in ordered.partition_by("open_time", maintain_order=True):
        counts = new_singles(window.select("first_id", "last_id").iter_rows())
        counted = window.with_columns(
            pl.Series("singles", counts, dtype=pl.Int64), pl.lit(window["whole"].all()).alias("whole")
        )
        windows.append(counted.filter(pl.col("singles") > 0))
    return pl.concat(windows)
