"""The watchlist: of every active instrument the last price, its age and source, and what today has and lacks."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

#: A live price older than this may be older than the newest bar; bars are then searched this far back.
_QUIET, _RECENT = timedelta(minutes=2), timedelta(hours=2)
_DAY = timedelta(days=1)


def watchlist(store: Store) -> pl.DataFrame:
    """One row per active instrument; the instruments of one ``venue`` stand together. Raises StoreError.

    Columns: ``instrument``; ``last_price`` with ``price_time`` (UTC), its ``age_s`` (seconds of the
    market's time) and ``source``;
    ``bars``, ``holes`` (absent without a reason) and ``explained`` (absent with one) of the current UTC day, in 1m;
    ``venue``; ``change_24h``, the price against that of a day ago as a share of it.
    The price is that of the last trade, or of the newest bar if that is newer; ``source`` says which. Values that are
    not known are null.
    """
    moment = store.clock.now()
    active = [row.instrument for row in store.instruments.list()]
    active.sort(key=lambda one: one.venue or "")  # instruments of a venue together, in the order of their adding
    names = [one.symbol for one in active]
    prices = store.live.prices(names, [Timeframe.M1])
    trade_age = (pl.lit(moment) - pl.col("last_trade_time")).dt.total_milliseconds() / 1000
    shown = pl.DataFrame({"instrument": names}, schema={"instrument": pl.String}).join(
        prices.select("instrument", "last_price", trade_age.alias("age_s"), "source"), "instrument", how="left"
    )
    complete = _with_bars(store, shown, moment).join(
        _today(store, names, moment), on="instrument", how="left", maintain_order="left"
    )
    closes = store.live.closes(names, moment - _DAY)
    before = pl.Series([closes.get(name) for name in names], dtype=pl.Float64)
    age_ms = (pl.col("age_s") * 1000).round().cast(pl.Int64)
    return complete.with_columns(
        pl.Series("venue", [one.venue for one in active], pl.String),
        (pl.col("last_price") / before - 1).alias("change_24h"),
        (pl.lit(moment) - pl.duration(milliseconds=age_ms)).cast(UTC_MS).alias("price_time"),
    )


def _today(store: Store, names: list[str], moment: datetime) -> pl.DataFrame:
    """What the current UTC day has of 1m bars, by instrument."""
    cells = store.coverage.cells([Timeframe.M1], moment - timedelta(seconds=1), moment, names)
    return cells.select(
        "instrument",
        pl.col("present").alias("bars"),
        (pl.col("expected") - pl.col("present") - pl.col("explained")).clip(lower_bound=0).alias("holes"),
        "explained",
    )


def _with_bars(store: Store, shown: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """Use the newest bar's price where no trade was streamed lately; the bar came by REST or from a substitute
    venue.
    """
    quiet = shown.filter(pl.col("age_s").is_null() | (pl.col("age_s") > _QUIET.total_seconds()))
    if quiet.is_empty():
        return shown
    bars = store.reader.read(quiet["instrument"].to_list(), Timeframe.M1, moment - _RECENT, moment)
    ended = pl.col("open_time") + Timeframe.M1.delta
    newest = (
        bars.group_by("instrument")
        .last()
        .select(
            "instrument",
            pl.col("close").alias("bar_price"),
            ((pl.lit(moment) - ended).dt.total_milliseconds() / 1000).alias("bar_age"),
            pl.col("source").alias("bar_source"),
        )
    )
    newer = pl.col("bar_age").is_not_null() & (pl.col("age_s").is_null() | (pl.col("bar_age") < pl.col("age_s")))

    def better(bar: str, live: str) -> pl.Expr:
        return pl.when(newer).then(pl.col(bar)).otherwise(pl.col(live)).alias(live)

    joined = shown.join(newest, on="instrument", how="left", maintain_order="left")
    both = better("bar_price", "last_price"), better("bar_age", "age_s"), better("bar_source", "source")
    return joined.select("instrument", *both)
