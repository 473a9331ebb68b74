"""Which bars cannot be, by one slow and plain judgement over frames: the forms of ``market.sanity`` must agree."""

from __future__ import annotations

import polars as pl

from crypto_pipeline.market.sanity import MAX_AMOUNT, MAX_COUNT, MAX_PRICE, TAKER_TOLERANCE
from crypto_pipeline.market.timeframes import Timeframe

_PRICES = ("open", "high", "low", "close")
_TAKER = "taker volume is larger than volume"
_WIDEST = max(timeframe.minutes for timeframe in Timeframe)


def bar_sanity(frame: pl.DataFrame, timeframe: Timeframe | None = None) -> pl.DataFrame:
    """The bars of ``frame`` that cannot be, with a column ``reason`` (all that apply, joined by "; "). Empty: all well.

    Checked: required values null, NaN or infinite; prices not above zero; low ≤ open, close ≤ high; negative volumes
    and counts; values above MAX_PRICE, and MAX_AMOUNT and MAX_COUNT a minute; taker volume above volume; the same bar
    twice; and, with ``timeframe``, open times off its grid.
    """
    faults = [pl.when(wrong.fill_null(value=False)).then(pl.lit(reason)) for reason, wrong in _faults(frame, timeframe)]
    judged = frame.with_columns(pl.concat_str(faults, separator="; ", ignore_nulls=True).alias("reason"))
    return judged.filter(pl.col("reason") != "")


def _faults(frame: pl.DataFrame, timeframe: Timeframe | None) -> list[tuple[str, pl.Expr]]:
    col = pl.col
    key = [name for name in ("instrument", "timeframe", "open_time") if name in frame.columns]
    nullable = [name for name in ("quote_volume", "taker_buy_volume", "trade_count") if name in frame.columns]
    floats = [name for name in (*_PRICES, "volume", *nullable) if frame.schema[name].is_float()]
    faults = [(f"{name} is null", col(name).is_null()) for name in (*key, *_PRICES, "volume")]
    faults += [(f"{name} is not finite", ~col(name).is_finite()) for name in floats]
    faults += [(f"{name} is not above zero", col(name) <= 0) for name in _PRICES]
    faults += [(f"{name} is negative", col(name) < 0) for name in ("volume", *nullable)]
    minutes = timeframe.minutes if timeframe is not None else _WIDEST
    most = {**dict.fromkeys(_PRICES, MAX_PRICE), "trade_count": MAX_COUNT * minutes}
    faults += [
        (f"{name} is larger than anything that trades", col(name) > most.get(name, MAX_AMOUNT * minutes))
        for name in (*_PRICES, "volume", *nullable)
    ]
    faults += [
        ("high is below open, low or close", col("high") < pl.max_horizontal("open", "low", "close")),
        ("low is above open, high or close", col("low") > pl.min_horizontal("open", "high", "close")),
        ("the bar is there twice", pl.struct(key).is_duplicated()),
    ]
    if "taker_buy_volume" in frame.columns:
        more = col("taker_buy_volume") > col("volume") * TAKER_TOLERANCE
        faults.append((_TAKER, more & (col("volume") >= 0)))
    if timeframe is not None:
        faults.append((f"open time is off the {timeframe} grid", timeframe.floor_expr() != col("open_time")))
    return faults
