"""Merges recorded files into one series per symbol and timeframe, and computes series that were not recorded.

Sums are computed in whole units of the last decimal place, so that they equal the sums of a venue.
"""

from __future__ import annotations

import logging
from decimal import Decimal

import numpy as np
import polars as pl

from crypto_pipeline.market.timeframes import HIGHER_TIMEFRAMES, Timeframe
from crypto_pipeline.replay.market.layouts import RECORDED_BARS, RecordedFile, read_bars, read_trades
from crypto_pipeline.replay.market.prices import Floats
from crypto_pipeline.replay.market.render import decimal_text
from crypto_pipeline.replay.market.tape import floor_ms

log = logging.getLogger(__name__)
Series = dict[Timeframe, pl.DataFrame]
Spans = list[tuple[int, int]]
_SUMS = ("volume", "quote_volume", "taker_volume", "taker_quote")


def places(values: Floats) -> int | None:
    """Fewest decimal places (at most 8) that represent all values exactly; None if 8 are not enough."""
    for count in range(9):
        if bool(np.all(np.rint(values * 10**count) / 10**count == values)):
            return count
    return None


def number_text(values: pl.Series) -> pl.Series:
    """Numbers as decimal text that parses to the same float; null becomes 0."""
    floats = values.fill_null(0.0).to_numpy()
    units = np.rint(floats * 1e8)
    if bool(np.all(units / 1e8 == floats)) and (not len(units) or units.max() < 9e18):
        return decimal_text(pl.Series(values.name, units.astype(np.int64)), 8)
    texts = [f"{Decimal(repr(value)):f}" for value in floats.tolist()]
    return pl.Series(values.name, texts, dtype=pl.String)


def load_bars(files: list[RecordedFile]) -> dict[str, Series]:
    """Series by the venue's symbol. Timeframes that were not recorded, or only partly, are computed from recorded
    1m.
    """
    grouped: dict[str, dict[Timeframe, list[RecordedFile]]] = {}
    for file in files:
        if file.timeframe is not None:
            grouped.setdefault(file.base + file.quote, {}).setdefault(file.timeframe, []).append(file)
    loaded = {}
    for symbol, by_timeframe in grouped.items():
        series, spans = {}, {}
        for timeframe, parts in by_timeframe.items():
            series[timeframe], spans[timeframe] = _merged(parts, timeframe)
        loaded[symbol] = with_computed(series, spans)
    return loaded


def _merged(files: list[RecordedFile], timeframe: Timeframe) -> tuple[pl.DataFrame, Spans]:
    frames = [read_bars(file.path) for file in files]
    spans = sorted(
        (int(frame["open_ms"][0]), int(frame["open_ms"][-1]) + timeframe.milliseconds) for frame in frames if len(frame)
    )
    joined: Spans = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    stacked = pl.concat(frames)
    merged = stacked.unique("open_ms", keep="last", maintain_order=True).sort("open_ms")
    if merged.height < stacked.unique().height:
        names = ", ".join(file.path.name for file in files)
        log.warning("%s state different values for the same bars: the file that sorts last is served", names)
    return merged, joined


def with_computed(series: Series, spans: dict[Timeframe, Spans]) -> Series:
    """The recorded bars, and computed bars of all windows that only the 1m recording covers."""
    minutes = series.get(Timeframe.M1)
    if minutes is None:
        return series
    whole = dict(series)
    for timeframe in HIGHER_TIMEFRAMES:
        computed = compute(minutes, timeframe)
        opens, ends = pl.col("open_ms"), pl.col("open_ms") + timeframe.milliseconds
        # A window at the edge of a recording lacks minutes, so it gets no bar.
        covered = pl.any_horizontal([(opens >= start) & (ends <= end) for start, end in spans[Timeframe.M1]])
        taken = pl.any_horizontal(
            [pl.lit(False), *((opens >= start) & (opens < end) for start, end in spans.get(timeframe, []))]
        )
        computed = computed.filter(covered & ~taken)
        whole[timeframe] = pl.concat([series[timeframe], computed]).sort("open_ms") if timeframe in series else computed
    return whole


def compute(minutes: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Bars of a wider timeframe from 1m bars: prices from minutes with trades (flat if there are none), and sums."""
    anchor = floor_ms(timeframe, 0)
    opens = pl.col("open_ms")
    window = opens - (opens - anchor) % timeframe.milliseconds
    decimals = {name: _places_of(minutes, name) for name in _SUMS}
    traded = pl.col("volume") > 0
    none_traded = ~traded.any()

    def price(name: str, of: pl.Expr, flat: pl.Expr) -> pl.Expr:
        return pl.when(none_traded).then(flat).otherwise(of).alias(name)

    last = pl.col("close").last()
    counted = (
        minutes.group_by(window.alias("window"), maintain_order=True)
        .agg(
            price("open", pl.col("open").filter(traded).first(), last),
            price("high", pl.col("high").filter(traded).max(), last),
            price("low", pl.col("low").filter(traded).min(), last),
            price("close", pl.col("close").filter(traded).last(), last),
            *(
                pl.when(pl.col(name).is_null().any())
                .then(None)
                .otherwise((pl.col(name) * 10 ** decimals[name]).round().cast(pl.Int64).sum())
                .alias(name)
                for name in _SUMS
            ),
            pl.when(pl.col("trades").is_null().any()).then(None).otherwise(pl.col("trades").sum()).alias("trades"),
        )
        .rename({"window": "open_ms"})
    )
    return _divided(counted, decimals)


def _divided(counted: pl.DataFrame, decimals: dict[str, int]) -> pl.DataFrame:
    """Convert sums in whole units to floats; null stays null."""
    floats = [
        pl.Series(name, np.divide(counted[name].fill_null(0).to_numpy(), 10.0 ** decimals[name])) for name in decimals
    ]
    known = [
        pl.when(counted[name].is_not_null()).then(series).alias(name)
        for name, series in zip(decimals, floats, strict=True)
    ]
    return counted.with_columns(known).select(pl.col(name).cast(kind) for name, kind in RECORDED_BARS.items())


def _places_of(frame: pl.DataFrame, name: str) -> int:
    found = places(frame[name].drop_nulls().to_numpy())
    return 8 if found is None else found


def load_trades(files: list[RecordedFile]) -> dict[str, pl.DataFrame]:
    """Trades by the venue's symbol. Trades without recorded ids are numbered from 1."""
    grouped: dict[str, list[pl.DataFrame]] = {}
    for file in files:
        if file.timeframe is None:
            grouped.setdefault(file.base + file.quote, []).append(read_trades(file.path))
    return {symbol: _numbered(pl.concat(frames)) for symbol, frames in grouped.items()}


def _numbered(trades: pl.DataFrame) -> pl.DataFrame:
    if trades["id"].null_count():
        trades = trades.sort("time_ms", maintain_order=True)
        trades = trades.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("id"))
    else:
        trades = trades.unique("id", keep="last", maintain_order=True).sort("time_ms", "id")
    return trades.with_columns(
        pl.col("first_id").fill_null(pl.col("id")),
        pl.col("last_id").fill_null(pl.col("id")),
        pl.col("buyer_is_maker").fill_null(False),
    )


def recorded_minutes(trades: pl.DataFrame) -> pl.DataFrame:
    """1m bars of recorded trades, for a symbol without recorded bars. Minutes without trades have no bar."""
    price, quantity = _places_of(trades, "price"), _places_of(trades, "quantity")
    sizes = (pl.col("quantity") * 10**quantity).round().cast(pl.Int64)
    quotes = (pl.col("price") * 10**price).round().cast(pl.Int64) * sizes
    bought = ~pl.col("buyer_is_maker")
    counted = trades.group_by(
        (pl.col("time_ms") - pl.col("time_ms") % 60_000).alias("open_ms"), maintain_order=True
    ).agg(
        pl.col("price").first().alias("open"),
        pl.col("price").max().alias("high"),
        pl.col("price").min().alias("low"),
        pl.col("price").last().alias("close"),
        sizes.sum().alias("volume"),
        quotes.sum().alias("quote_volume"),
        (pl.col("last_id") - pl.col("first_id") + 1).sum().alias("trades"),
        sizes.filter(bought).sum().alias("taker_volume"),
        quotes.filter(bought).sum().alias("taker_quote"),
    )
    both = price + quantity
    return _divided(counted, {"volume": quantity, "taker_volume": quantity, "quote_volume": both, "taker_quote": both})
