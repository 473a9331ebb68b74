"""Renders bars and trades to the bytes of answers and files, one chunk at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.market.prices import Ints

#: Archive files from this day on have times in microseconds, as Binance's do (Unix ms).
MICROSECONDS_FROM_MS = 1_735_689_600_000


def exact_float(units: pl.Series, decimals: int) -> pl.Series:
    """An integer column in units of 10^-decimals as the nearest floats, equal to the parsed decimal text.

    NumPy divides exactly; Polars multiplies by the reciprocal of a literal, whose last digit is often wrong.
    """
    counted = units.to_numpy().astype(np.float64)
    return pl.Series(units.name, counted / 10.0**decimals)


def decimal_text(units: pl.Series, decimals: int) -> pl.Series:
    """An integer column in units of 10^-decimals as text with eight decimal places, without floats.

    The column is cast to decimal128 and then to text, which is ten times as fast as joining texts.
    """
    # The weekly volume of a coin worth a fraction of a cent exceeds 64 bits in units of 10^-8: multiply in two halves.
    counted, scale = units.to_numpy().astype(np.uint64), np.uint64(10 ** (8 - decimals))
    half = np.uint64(32)
    low, high = (counted & np.uint64(0xFFFFFFFF)) * scale, (counted >> half) * scale
    words = np.empty((len(units), 2), dtype=np.uint64)
    words[:, 0] = (high << half) + low
    words[:, 1] = (high >> half) + (words[:, 0] < low)
    numbers = pa.Array.from_buffers(pa.decimal128(38, 8), len(units), [None, pa.py_buffer(words)])
    text = pl.from_arrow(numbers)
    assert isinstance(text, pl.Series)
    return text.cast(pl.String).alias(units.name)


@dataclass(frozen=True, slots=True)
class RenderedRows:
    """Rendered rows of one chunk; slices need no new rendering. ``keys`` ascend (open times in ms, or trade ids)."""

    keys: Ints
    times: Ints
    body: bytes
    offsets: Ints

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return len(self.body) + self.keys.nbytes * 3

    def __len__(self) -> int:
        return len(self.keys)

    def cut(self, first: int, last: int) -> bytes:
        """Rows [first, last) joined by commas."""
        if last <= first:
            return b""
        return self.body[int(self.offsets[first]) : int(self.offsets[last]) - 1]


def _rows(keys: pl.Series, times: pl.Series, lines: pl.Series) -> RenderedRows:
    lengths = lines.str.len_bytes().to_numpy().astype(np.int64)
    offsets = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths + 1)))
    body = (lines.str.join(",").item() or "").encode()
    return RenderedRows(keys.to_numpy(), times.to_numpy(), body, offsets)


_BAR_TEXTS = ("open", "high", "low", "close", "volume")


def bar_rows(bars: pl.DataFrame, timeframe: Timeframe) -> RenderedRows:
    """BAR_TEXT as kline arrays, the twelve elements in Binance's order."""
    quote = pl.lit('"')
    open_ms, comma = pl.col("open_ms"), pl.lit(",")
    line = pl.concat_str(
        pl.lit("["),
        open_ms,
        *(part for name in _BAR_TEXTS for part in (comma, quote, pl.col(name), quote)),
        comma,
        open_ms + (timeframe.milliseconds - 1),
        pl.lit(',"'),
        pl.col("quote_volume"),
        pl.lit('",'),
        pl.col("trades"),
        pl.lit(',"'),
        pl.col("taker_volume"),
        pl.lit('","'),
        pl.col("taker_quote"),
        pl.lit('","0"]'),
    )
    return _rows(bars["open_ms"], bars["open_ms"], bars.select(line=line)["line"])


def trade_rows(trades: pl.DataFrame) -> RenderedRows:
    """TRADE_TEXT as aggTrade objects."""
    line = pl.concat_str(
        pl.lit('{"a":'),
        pl.col("id"),
        pl.lit(',"p":"'),
        pl.col("price"),
        pl.lit('","q":"'),
        pl.col("quantity"),
        pl.lit('","f":'),
        pl.col("first_id"),
        pl.lit(',"l":'),
        pl.col("last_id"),
        pl.lit(',"T":'),
        pl.col("time_ms"),
        pl.lit(',"m":'),
        pl.col("buyer_is_maker"),
        pl.lit(',"M":true}'),
    )
    return _rows(trades["id"], trades["time_ms"], trades.select(line=line)["line"])


def _archive_time(column: str, period_ms: int, extra: int = 0) -> pl.Expr:
    """Times of archive files: milliseconds, or microseconds in newer files. ``extra`` ms are added, for close times."""
    if period_ms < MICROSECONDS_FROM_MS:
        return pl.col(column) + (extra - 1 if extra else 0)
    return (pl.col(column) + extra) * 1000 - (1 if extra else 0)


def bar_lines(bars: pl.DataFrame, timeframe: Timeframe, period_ms: int) -> bytes:
    """BAR_TEXT as the lines of an archive file."""
    line = pl.concat_str(
        _archive_time("open_ms", period_ms),
        *_BAR_TEXTS,
        _archive_time("open_ms", period_ms, timeframe.milliseconds),
        "quote_volume",
        "trades",
        "taker_volume",
        "taker_quote",
        pl.lit("0"),
        separator=",",
    )
    return _lines(bars.select(line=line)["line"])


def trade_lines(trades: pl.DataFrame, period_ms: int) -> bytes:
    """TRADE_TEXT as the lines of an archive file."""
    maker = pl.when("buyer_is_maker").then(pl.lit("True")).otherwise(pl.lit("False"))
    time = _archive_time("time_ms", period_ms)
    line = pl.concat_str("id", "price", "quantity", "first_id", "last_id", time, maker, pl.lit("True"), separator=",")
    return _lines(trades.select(line=line)["line"])


def _lines(lines: pl.Series) -> bytes:
    return ("\n".join(lines.to_list()) + "\n").encode() if len(lines) else b""
