"""Bars on the basis of a later moment: prices and volumes multiplied by the factors of corporate actions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.market.bars import PRICE_COLUMNS
from crypto_pipeline.market.corporate_actions.factors import Factors, FactorTable
from crypto_pipeline.market.corporate_actions.steps import Runs
from crypto_pipeline.market.timeframes import Timeframe

#: Columns in money per share, in shares; amounts of money and counts stay as they are.
_PRICES = (*PRICE_COLUMNS, "vwap")
_SHARES = ("volume", "taker_buy_volume")
_BY_DATE = (Timeframe.D1, Timeframe.W1)


def adjust_bars(bars: pl.DataFrame, timeframe: Timeframe, table: FactorTable) -> pl.DataFrame:
    """``bars`` of one timeframe with adjusted prices and volumes, whichever of these columns there are.

    Needs ``instrument`` and ``open_time``, sorted by both. A weekly bar is put on the basis of its Monday: see
    ``mixed_weeks`` for those in which an action takes effect later.
    """
    price, volume = np.ones(bars.height), np.ones(bars.height)
    times = bars["open_time"].to_physical().to_numpy()
    changed = False
    for begin, end, factors in _runs(bars, table):
        places = np.searchsorted(_bounds(factors, timeframe), times[begin:end], side="right")
        if len(places) and places[0] < len(factors.price) - 1:
            price[begin:end], volume[begin:end] = factors.price[places], factors.volume[places]
            changed = True
    if not changed:
        return bars
    columns = [*((name, price) for name in _PRICES), *((name, volume) for name in _SHARES)]
    return bars.with_columns(
        (bars[name] * pl.Series(values)).alias(name) for name, values in columns if name in bars.columns
    )


def mixed_weeks(weeks: pl.DataFrame, table: FactorTable) -> pl.DataFrame:
    """Those of weekly bars (``instrument``, ``open_time``, in order) in which an action takes effect after Monday."""
    times = weeks["open_time"].to_physical().to_numpy()
    mixed = np.zeros(weeks.height, np.bool_)
    for begin, end, factors in _runs(weeks, table):
        mixed[begin:end] = np.diff(_places_of_week(factors, times[begin:end]), axis=0)[0] > 0
    return weeks.filter(pl.Series(mixed)).select("instrument", "open_time")


def _places_of_week(factors: Factors, opens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    last_day = opens + Timeframe.W1.milliseconds - Timeframe.D1.milliseconds
    return np.stack([np.searchsorted(factors.days, times, side="right") for times in (opens, last_day)])


def _bounds(factors: Factors, timeframe: Timeframe) -> npt.NDArray[np.int64]:
    return factors.days if timeframe in _BY_DATE else factors.times


def _runs(bars: pl.DataFrame, table: FactorTable) -> Iterator[tuple[int, int, Factors]]:
    """Begin and end of the rows of each instrument that has factors."""
    runs = Runs.of(bars["instrument"])
    for name, begin, end in zip(runs.names, runs.begins.tolist(), runs.ends.tolist(), strict=True):
        if (factors := table.of_instrument.get(name)) is not None:
            yield begin, end, factors
