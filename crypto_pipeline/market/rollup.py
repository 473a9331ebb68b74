"""Roll-up: bars of a wider timeframe from bars of a finer one, equal to the venue's own (invariant I4).

Open, high, low and close come from the bars *with volume* only; volumes and counts are summed; a window in which
nothing traded carries the flat bar if the venue states one. A flat bar repeats the previous close, which may lie
outside what traded in the window: counting it is the classical way to get a fraction of all thin windows wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from crypto_pipeline.market.bars import OPTIONAL_COLUMNS, STAND_IN, UTC_MS, BarOrigin
from crypto_pipeline.market.gaps.arithmetic import intersect, subtract, to_spans
from crypto_pipeline.market.precedence import SOURCE_RANKS
from crypto_pipeline.market.rollup_segments import Bools, Columns, Floats, Ints, widen
from crypto_pipeline.market.timeframes import HIGHER_TIMEFRAMES, Timeframe, require_utc

_PRICES = ("open", "high", "low", "close", "volume")
_SUMS = OPTIONAL_COLUMNS
_LATEST = ("revision", "recorded_at")
_KNOWN = {"instrument", "open_time", *_PRICES, *_SUMS, *_LATEST, "source", "complete", "timeframe", "vwap"}
# 1970-01-05 was the first Monday; every finer grid passes through it too.
_ANCHOR_MS = 4 * 86_400_000
_NEVER = np.iinfo(np.int64).min
_STAND_IN_RANKS = {str(source): SOURCE_RANKS[source] for source in STAND_IN}
_OURS = 99


def roll_up(bars: pl.DataFrame, timeframe: Timeframe | str) -> pl.DataFrame:
    """Bars of ``timeframe`` from finer ``bars``: the same columns, sorted by (instrument, open_time).

    Needs ``open_time`` (Datetime with a zone), ``open``, ``high``, ``low``, ``close``, ``volume``, and ``instrument``
    where there is more than one. Input need not be sorted but is handled fastest when it is. A sum is null where a bar
    that traded does not state its part. ``source`` becomes ``historical_aggregated``, or that of the least believed
    part of another venue where there is one; ``complete`` holds where every part is, ``revision`` is the newest of the
    parts.

    Windows with missing minutes are rolled up from the present ones; ``roll_up_final`` gives only complete windows.
    Raises ValueError naming the column or the bar that is wrong.
    """
    target = Timeframe.parse(timeframe)
    prepared, columns = _prepare(bars)
    # Always through the whole cascade, so that a sum has the same last bit whichever way it was asked for.
    for step in _steps(target):
        columns = widen(columns, step.milliseconds, _ANCHOR_MS)
    return _restore(prepared, columns, target)


def roll_up_all(
    bars: pl.DataFrame, timeframes: Iterable[Timeframe] = HIGHER_TIMEFRAMES
) -> dict[Timeframe, pl.DataFrame]:
    """Every timeframe above 1m (or those given) in one cascade; each equals what ``roll_up`` returns."""
    wanted = set(timeframes)
    prepared, columns = _prepare(bars)
    result: dict[Timeframe, pl.DataFrame] = {}
    for step in HIGHER_TIMEFRAMES:
        columns = widen(columns, step.milliseconds, _ANCHOR_MS)
        if step in wanted:
            result[step] = _restore(prepared, columns, step)
    return result


def roll_up_final(
    bars: pl.DataFrame,
    timeframe: Timeframe | str,
    *,
    now: datetime,
    accounted: pl.DataFrame | None = None,
    settle_delay: timedelta | float = 0.0,
    part: Timeframe = Timeframe.M1,
) -> pl.DataFrame:
    """As ``roll_up``, but only windows that are over at ``now`` and of which every ``part`` is accounted for.

    A part is accounted for when its bar is in ``bars`` or it lies in a span of ``accounted`` (``instrument``,
    ``start``, ``end``): what the ledger explains, what lies before the listing or after the delisting, when the
    exchange is closed.
    """
    target = Timeframe.parse(timeframe)
    prepared, columns = _prepare(bars)
    for step in _steps(target):
        columns = widen(columns, step.milliseconds, _ANCHOR_MS)
    rolled = _restore(prepared, columns, target)
    settle = settle_delay if isinstance(settle_delay, timedelta) else timedelta(seconds=settle_delay)
    over = rolled["open_time"] + target.delta <= require_utc(now) - settle
    rows = columns.row if columns.row is not None else np.arange(len(columns))
    present = pl.Series(np.diff(np.append(rows, len(prepared))), dtype=pl.Int64)
    missing = target.minutes // part.minutes - present
    if accounted is not None and accounted.height and (missing > 0).any():
        missing = missing - _accounted(prepared, rolled, missing > 0, accounted, target, part)
    return rolled.filter((missing <= 0) & over)


def _accounted(
    bars: pl.DataFrame, rolled: pl.DataFrame, holed: pl.Series, spans: pl.DataFrame, target: Timeframe, part: Timeframe
) -> pl.Series:
    """Per rolled-up window how many of its absent parts lie in ``spans``."""
    name = pl.col("instrument") if "instrument" in rolled.columns else pl.lit("").alias("instrument")
    if "instrument" not in rolled.columns:
        spans = spans.with_columns(name)
    windows = rolled.select(name, "open_time")
    wanted = windows.filter(holed).select("instrument", pl.col("open_time").alias("start"))
    wanted = wanted.with_columns(end=pl.col("start") + target.delta)
    touched = bars.select(name, "open_time", target.floor_expr().alias("start"))
    there = touched.join(wanted, on=["instrument", "start"], how="semi").select("instrument", "open_time")
    absent = subtract(intersect(wanted, spans), to_spans(there, part))
    # A stretch of absent parts may run over several windows, so each part is counted in its own.
    opens = pl.datetime_ranges("start", "end", f"{part.minutes}m", closed="left")
    parts = absent.select("instrument", opens.alias("open_time")).explode("open_time", empty_as_null=False)
    counts = parts.group_by("instrument", target.floor_expr()).len()
    joined = windows.join(counts, on=["instrument", "open_time"], how="left", maintain_order="left")
    return joined["len"].fill_null(0).cast(pl.Int64)


def _steps(target: Timeframe) -> list[Timeframe]:
    """The cascade that ends in ``target``."""
    return [step for step in HIGHER_TIMEFRAMES if step.minutes <= target.minutes] or [target]


def _prepare(bars: pl.DataFrame) -> tuple[pl.DataFrame, Columns]:
    """The frame in order, and its columns as arrays."""
    bars = _checked(bars)
    run = _runs(bars)
    time = _times(bars)
    if not _is_sorted(bars, time, run):
        bars = bars.sort("instrument", "open_time") if run is not None else bars.sort("open_time")
        run, time = _runs(bars), _times(bars)
        _refuse_duplicates(bars, time, run)
    sums = {name: _floats(bars[name]) for name in _SUMS if name in bars.columns}
    latest = {name: _stamps(bars[name]) for name in _LATEST if name in bars.columns}
    complete: Bools | None = None
    if "complete" in bars.columns:
        complete = bars["complete"].fill_null(value=False).to_numpy()
    open_, high, low, close, volume = (_floats(bars[name]) for name in _PRICES)
    return bars, Columns(time, run, None, open_, high, low, close, volume, sums, latest, complete)


def _checked(bars: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in ("open_time", *_PRICES) if name not in bars.columns]
    if missing:
        raise ValueError(f"bars lack the column {', '.join(missing)}: there are {', '.join(bars.columns)}")
    if unknown := [name for name in bars.columns if name not in _KNOWN]:
        raise ValueError(f"no rule to roll up the column {', '.join(unknown)}: drop it first")
    kind = bars.schema["open_time"]
    if not isinstance(kind, pl.Datetime):
        raise ValueError(f"open_time is {kind}: give Datetime with a time zone, for example Datetime('ms', 'UTC')")
    if kind.time_zone is None:
        raise ValueError("open_time is naive: give it a time zone, for example .dt.replace_time_zone('UTC')")
    for name in ("open_time", *_PRICES, *(["instrument"] if "instrument" in bars.columns else [])):
        if bars[name].null_count():
            raise ValueError(f"{name} is null in {bars[name].null_count()} of {len(bars)} bars: leave these bars out")
    return bars if kind == UTC_MS else bars.with_columns(pl.col("open_time").dt.convert_time_zone("UTC").cast(UTC_MS))


def _runs(bars: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.uint32]] | None:
    """Number of the instrument's run for every row; None where there is no such column."""
    return bars["instrument"].rle_id().to_numpy() if "instrument" in bars.columns and len(bars) else None


def _times(bars: pl.DataFrame) -> Ints:
    return bars["open_time"].to_physical().to_numpy()


def _is_sorted(bars: pl.DataFrame, time: Ints, run: np.ndarray[tuple[int], np.dtype[np.uint32]] | None) -> bool:
    """Strictly ascending in (instrument, time)."""
    rising = time[1:] > time[:-1]
    if run is None:
        return bool(rising.all())
    heads = np.flatnonzero(run[1:] != run[:-1]) + 1
    rising[heads - 1] = True
    names = bars["instrument"].gather(np.concatenate(([0], heads))).cast(pl.String)
    return bool(rising.all()) and names.is_sorted() and names.n_unique() == len(names)


def _refuse_duplicates(bars: pl.DataFrame, time: Ints, run: np.ndarray[tuple[int], np.dtype[np.uint32]] | None) -> None:
    same = time[1:] == time[:-1]
    if run is not None:
        same &= run[1:] == run[:-1]
    if same.any():
        row = bars.row(int(np.flatnonzero(same)[0]), named=True)
        name = f"{row['instrument']} " if run is not None else ""
        raise ValueError(f"{name}{row['open_time']:%Y-%m-%d %H:%M} is there twice: keep one copy of each bar")


def _floats(column: pl.Series) -> Floats:
    """As float64, null as NaN."""
    column = column if column.dtype == pl.Float64 else column.cast(pl.Float64)
    return (column.fill_null(np.nan) if column.null_count() else column).to_numpy()


def _stamps(column: pl.Series) -> Ints:
    return column.to_physical().fill_null(_NEVER).to_numpy()


def _restore(source: pl.DataFrame, columns: Columns, timeframe: Timeframe) -> pl.DataFrame:
    """A frame with the columns and dtypes of ``source``."""
    return pl.DataFrame([_column(source, name, columns, timeframe) for name in source.columns])


def _column(source: pl.DataFrame, name: str, columns: Columns, timeframe: Timeframe) -> pl.Series:
    dtype = source.schema[name]
    if name == "open_time":
        return pl.Series(name, columns.time).cast(UTC_MS)
    if name == "instrument":
        rows = columns.row if columns.row is not None else np.arange(len(columns))
        return source[name].gather(rows)
    if name in columns.sums:
        return pl.Series(name, columns.sums[name]).fill_nan(None).cast(dtype)
    if name in columns.maxima:
        stamps = pl.Series(name, columns.maxima[name])
        return stamps.set(stamps == _NEVER, None).cast(dtype)
    if name == "complete":
        return pl.Series(name, columns.complete)
    if name == "source":
        return _source(source[name], columns).cast(dtype)
    if name == "timeframe":
        return pl.repeat(str(timeframe), len(columns), dtype=dtype, eager=True).alias(name)
    if name == "vwap":
        return _vwap(columns)
    return pl.Series(name, getattr(columns, name))


def _source(parts: pl.Series, columns: Columns) -> pl.Series:
    """``historical_aggregated``, unless another venue stated a part: then the source of the least believed part."""
    ours = pl.repeat(str(BarOrigin.HISTORICAL_AGGREGATED), len(columns), dtype=pl.String, eager=True).alias("source")
    parts = parts.cast(pl.String)
    if not len(columns) or not parts.is_in(list(_STAND_IN_RANKS)).any():
        return ours
    rows = columns.row if columns.row is not None else np.arange(len(columns))
    ranks = parts.replace_strict(_STAND_IN_RANKS, default=_OURS, return_dtype=pl.Int16).to_numpy()
    names = {rank: name for name, rank in _STAND_IN_RANKS.items()} | {_OURS: str(BarOrigin.HISTORICAL_AGGREGATED)}
    least = pl.Series("source", np.minimum.reduceat(ranks, rows))
    return least.replace_strict(names, return_dtype=pl.String)


def _vwap(columns: Columns) -> pl.Series:
    """Null where nothing traded, or where no quote volume was given."""
    quote = columns.sums.get("quote_volume", np.full(len(columns), np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        return pl.Series("vwap", np.where(columns.volume > 0, quote / columns.volume, np.nan)).fill_nan(None)
