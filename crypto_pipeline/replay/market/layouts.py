"""Reads recorded files of bars and trades in several layouts into one schema for bars and one for trades."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.errors import ReplayError
from crypto_pipeline.replay.market.symbols import split_symbol

_TIMEFRAMES = "|".join(Timeframe)
_NAME = re.compile(
    rf"(?P<symbol>.+?)-(?P<series>{_TIMEFRAMES}|trades|aggTrades)(-(?P<rest>.+?))?\.(?P<kind>parquet|csv|csv\.gz)"
)
_MICROSECONDS_FROM = 10**14
_SECONDS_BELOW = 10**11

#: Recorded bars; quote volume, counts and taker volume are null if the recording lacks them.
RECORDED_BARS: dict[str, pl.DataType] = {
    "open_ms": pl.Int64(),
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "quote_volume": pl.Float64(),
    "trades": pl.Int64(),
    "taker_volume": pl.Float64(),
    "taker_quote": pl.Float64(),
}
RECORDED_TRADES: dict[str, pl.DataType] = {
    "time_ms": pl.Int64(),
    "id": pl.Int64(),
    "first_id": pl.Int64(),
    "last_id": pl.Int64(),
    "price": pl.Float64(),
    "quantity": pl.Float64(),
    "buyer_is_maker": pl.Boolean(),
}
_BINANCE_BARS = (
    *("open_ms", "open", "high", "low", "close", "volume", "close_ms", "quote_volume", "trades"),
    *("taker_volume", "taker_quote", "ignore"),
)
_BINANCE_TRADES = ("id", "price", "quantity", "first_id", "last_id", "time_ms", "buyer_is_maker", "best")
_BITFINEX_BARS = ("open_ms", "open", "close", "high", "low", "volume")
# Names of our columns in other sources.
_ALIASES = {
    **dict.fromkeys(("ts_ms", "timestamp", "time", "date", "open_time", "datetime", "opentime", "mts"), "open_ms"),
    **dict.fromkeys(("quote_asset_volume", "quotevolume", "quote_vol", "turnover"), "quote_volume"),
    **dict.fromkeys(("count", "trade_count", "num_trades", "number_of_trades", "tradecount"), "trades"),
    **dict.fromkeys(("taker_buy_volume", "taker_buy_base_asset_volume", "taker_buy_base"), "taker_volume"),
    **dict.fromkeys(("taker_buy_quote_volume", "taker_buy_quote_asset_volume", "taker_buy_quote"), "taker_quote"),
    **{"o": "open", "h": "high", "l": "low", "c": "close", "v": "volume", "vol": "volume"},
}
_TRADE_ALIASES = {
    **dict.fromkeys(("ts_ms", "timestamp", "time", "date", "transact_time", "datetime"), "time_ms"),
    **dict.fromkeys(("trade_id", "agg_trade_id", "aggregate_trade_id"), "id"),
    **dict.fromkeys(("amount", "qty", "size", "volume"), "quantity"),
    **dict.fromkeys(("first_trade_id",), "first_id"),
    **dict.fromkeys(("last_trade_id",), "last_id"),
    **dict.fromkeys(("is_buyer_maker", "isbuyermaker"), "buyer_is_maker"),
}


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """One file with the facts in its name. ``timeframe`` None means trades."""

    path: Path
    base: str
    quote: str
    timeframe: Timeframe | None


def find_files(source: Path) -> list[RecordedFile]:
    """Recorded files below ``source``; for a folder of one venue, also the trades beside it.

    Raises ReplayError if there are none, or if they are of several venues, whose symbols would mix.
    """
    if not source.is_dir():
        raise ReplayError(f"source {str(source)!r} is not a folder: give 'generated' or a folder of recorded bars")
    roots = [source]
    if source.parent.name in ("bars", "trades"):
        other = "trades" if source.parent.name == "bars" else "bars"
        roots.append(source.parent.parent / other / source.name)
    paths = sorted(path for root in roots if root.is_dir() for path in root.rglob("*") if path.is_file())
    files = [file for file in map(_recorded_file, paths) if file is not None]
    if not files:
        raise ReplayError(f"no recorded files in {source}: they are named SYMBOL-1m-….parquet, .csv or .csv.gz")
    venues = sorted({file.path.parent.name for file in files} - {"bars", "trades", source.name})
    if len(venues) > 1 or (venues and any(file.path.parent == source for file in files)):
        names = ", ".join(venues)
        raise ReplayError(f"{source} holds recordings of several venues ({names}): point --source at one of them")
    return files


def _recorded_file(path: Path) -> RecordedFile | None:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    try:
        base, quote = split_symbol(match["symbol"])
    except ValueError:
        raise ReplayError(f"{path}: cannot tell base and quote of {match['symbol']!r}: name it BASE_QUOTE-…") from None
    series = match["series"]
    return RecordedFile(path, base, quote, None if "rades" in series else Timeframe(series))


def read_bars(path: Path) -> pl.DataFrame:
    """Bars of one file as RECORDED_BARS, sorted, one row per open time (the last row of a file is used)."""
    frame = _read(path, _ALIASES, bars=True)
    missing = [name for name in ("open_ms", "open", "high", "low", "close", "volume") if name not in frame.columns]
    if missing:
        raise ReplayError(f"{path}: no column for {', '.join(missing)}; found {', '.join(frame.columns)}")
    frame = frame.with_columns(_milliseconds(frame, "open_ms", path)).filter(pl.col("open_ms").is_not_null())
    return _shaped(frame, RECORDED_BARS, path).unique("open_ms", keep="last", maintain_order=True).sort("open_ms")


def read_trades(path: Path) -> pl.DataFrame:
    """Trades of one file as RECORDED_TRADES, sorted; ids and sides are null if the recording lacks them."""
    frame = _read(path, _TRADE_ALIASES, bars=False)
    if "buyer_is_maker" not in frame.columns and "side" in frame.columns:
        frame = frame.with_columns(
            (pl.col("side").cast(pl.String).str.to_lowercase() == "sell").alias("buyer_is_maker")
        )
    missing = [name for name in ("time_ms", "price", "quantity") if name not in frame.columns]
    if missing:
        raise ReplayError(f"{path}: no column for {', '.join(missing)}; found {', '.join(frame.columns)}")
    frame = frame.with_columns(_milliseconds(frame, "time_ms", path))
    return _shaped(frame, RECORDED_TRADES, path).sort("time_ms", "id", maintain_order=True)


def _read(path: Path, aliases: dict[str, str], *, bars: bool) -> pl.DataFrame:
    try:
        if path.suffix == ".parquet":
            return _renamed(pl.read_parquet(path), aliases)
        head = pl.read_csv(path, has_header=False, n_rows=1, infer_schema=False)
        if not _numeric(head.row(0)[0]):
            return _renamed(pl.read_csv(path, infer_schema_length=None), aliases)
        names = _headless(head.width, path, bars=bars)
        return pl.read_csv(path, has_header=False, new_columns=names, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ReplayError(f"cannot read {path}: {str(error).splitlines()[0]}") from None


def _headless(width: int, path: Path, *, bars: bool) -> list[str]:
    """Column names of a CSV without header, by the number of its columns."""
    known: dict[int, tuple[str, ...]] = (
        {12: _BINANCE_BARS, 6: _BITFINEX_BARS} if bars else {8: _BINANCE_TRADES, 3: ("time_ms", "price", "quantity")}
    )
    if width not in known:
        counts = " or ".join(str(count) for count in known)
        raise ReplayError(f"{path}: {width} columns without a header; known are {counts}: add a header row")
    return list(known[width])


def _numeric(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True


def _renamed(frame: pl.DataFrame, aliases: dict[str, str]) -> pl.DataFrame:
    lowered = frame.rename({name: name.strip().lower().replace(" ", "_") for name in frame.columns})
    names: dict[str, str] = {}
    for name in lowered.columns:
        target = aliases.get(name, name)
        # A column with our name takes precedence over one with an alias.
        if target not in names.values() and (target == name or target not in lowered.columns):
            names[name] = target
    return lowered.select(pl.col(name).alias(target) for name, target in names.items())


def _milliseconds(frame: pl.DataFrame, column: str, path: Path) -> pl.Expr:
    """Times as Unix ms, from dates, texts or numbers; the size of a number shows its unit (s, ms or µs)."""
    kind = frame.schema[column]
    time = pl.col(column)
    if kind == pl.String:
        time, kind = time.str.to_datetime(time_zone="UTC"), pl.Datetime("us", "UTC")
    if kind.is_temporal():
        return time.cast(pl.Datetime("ms")).cast(pl.Int64).alias(column)
    if not kind.is_numeric():
        raise ReplayError(f"{path}: cannot read times of type {kind} in column {column}")
    largest = float(frame[column].max() or 0)  # type: ignore[arg-type]
    if largest >= _MICROSECONDS_FROM:
        return (time // 1000).cast(pl.Int64).alias(column)
    if largest < _SECONDS_BELOW:
        return (time * 1000).cast(pl.Int64).alias(column)
    return time.cast(pl.Int64).alias(column)


def _shaped(frame: pl.DataFrame, schema: dict[str, pl.DataType], path: Path) -> pl.DataFrame:
    columns = [
        # Some venues' trade ids are not numbers; they are replaced by a count.
        pl.col(name).cast(kind, strict=name != "id") if name in frame.columns else pl.lit(None, dtype=kind).alias(name)
        for name, kind in schema.items()
    ]
    try:
        return frame.select(columns)
    except pl.exceptions.PolarsError as error:
        raise ReplayError(f"{path}: {str(error).splitlines()[0]}") from None
