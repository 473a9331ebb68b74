"""Indicators against TA-Lib, on recorded series with holes and quiet minutes, and against a broken input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
import talib

from crypto_pipeline.arrays.rolling import Floats
from crypto_pipeline.features.definitions import indicators as ind
from crypto_pipeline_tests.builders.recorded_bars import NAMES, dense, recorded_bars

#: Bars after which even the slowest, EMA 96, has forgotten how it began to better than 1e-9.
WARM = 1200


def _talib(name: str, bars: pl.DataFrame) -> np.ndarray:
    h, low, c = (bars[column].to_numpy() for column in ("high", "low", "close"))
    calls: dict[str, Callable[[], np.ndarray]] = {
        "rsi": lambda: talib.RSI(c, 14),
        "atr": lambda: talib.ATR(h, low, c, 14),
        "adx": lambda: talib.ADX(h, low, c, 14),
        "ema20": lambda: talib.EMA(c, 20),
        "ema96": lambda: talib.EMA(c, 96),
        "macd": lambda: talib.MACD(c, 12, 26, 9)[0],
        "macd_signal": lambda: talib.MACD(c, 12, 26, 9)[1],
        "bollinger_upper": lambda: talib.BBANDS(c, 20, 2.0, 2.0)[0],
        "bollinger_lower": lambda: talib.BBANDS(c, 20, 2.0, 2.0)[2],
        "sma50": lambda: talib.SMA(c, 50),
        "stochastic": lambda: talib.STOCHF(h, low, c, 14, 1)[0],
        "slope": lambda: talib.LINEARREG_SLOPE(c, 96),
        "line_end": lambda: talib.LINEARREG(c, 96),
    }
    return calls[name]()


OURS: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "rsi": lambda h, low, c: ind.rsi(c),
    "atr": ind.atr,
    "adx": ind.adx,
    "ema20": lambda h, low, c: ind.ema(c, 20),
    "ema96": lambda h, low, c: ind.ema(c, 96),
    "macd": lambda h, low, c: ind.macd(c).line,
    "macd_signal": lambda h, low, c: ind.macd(c).signal,
    "bollinger_upper": lambda h, low, c: ind.bollinger(c).upper,
    "bollinger_lower": lambda h, low, c: ind.bollinger(c).lower,
    "sma50": lambda h, low, c: ind.sma(c, 50),
    "stochastic": ind.stochastic,
    "slope": lambda h, low, c: ind.ols(c, 96).slope,
    "line_end": lambda h, low, c: ind.ols(c, 96).end,
}
WINDOW = {"bollinger_upper": 20, "bollinger_lower": 20, "sma50": 50, "stochastic": 14, "slope": 96, "line_end": 96}


def _ours(name: str, bars: pl.DataFrame) -> Floats:
    return OURS[name](*(bars[column].fill_null(np.nan).to_numpy() for column in ("high", "low", "close")))


def _differences(ours: np.ndarray, theirs: np.ndarray, scale: np.ndarray, *, rare: bool = False) -> float:
    """Largest difference relative to the value, or to what goes in where the value itself passes through 0."""
    both = ~np.isnan(ours) & ~np.isnan(theirs)
    both[:WARM] = False
    # where hardly a minute in three traded, windows without a hole may be rare or absent on the grid
    assert both.sum() > 200 or rare
    return float((np.abs(ours - theirs)[both] / np.maximum(np.abs(theirs), scale)[both]).max(initial=0.0))


def _scale(name: str, bars: pl.DataFrame) -> np.ndarray:
    """MACD and slope pass through 0, and 0/100 bounded ones touch it: there the input gives the scale."""
    close = bars["close"].to_numpy()
    if name in ("rsi", "adx", "stochastic"):
        return np.full(len(bars), 1.0)
    if name in ("macd", "macd_signal"):
        return close * 1e-2
    return close * (1e-4 if name == "slope" else 1e-9)


@pytest.mark.realdata
@pytest.mark.parametrize("name", OURS)
def test_equals_talib_once_warm_with_holes_and_quiet_bars(name: str) -> None:
    for path in NAMES:
        bars = recorded_bars(path, 20_000)
        whole = _ours(name, bars)
        theirs = _talib(name, bars)
        moved = _moved(bars, WINDOW.get(name, 14))
        theirs = np.where(moved, theirs, np.nan)
        assert _differences(whole, theirs, _scale(name, bars)) <= 1e-9, path
        # The same on a grid with a row of nulls for every absent bar: only windows that hold a hole become null.
        grid = dense(bars)
        kept = _ours(name, grid)[grid["close"].is_not_null().to_numpy()]
        assert _differences(kept, theirs, _scale(name, bars), rare=True) <= 1e-9, path
        if name not in WINDOW:
            assert (np.isnan(kept) == np.isnan(whole)).all()
        else:
            gone = np.isnan(kept) & ~np.isnan(whole)
            opens = bars["open_time"].to_physical().to_numpy()
            step = np.diff(opens).min()
            n = WINDOW[name]
            broken = np.r_[np.ones(n - 1, dtype=bool), (opens[n - 1 :] - opens[: -n + 1]) != (n - 1) * step]
            assert (gone == (broken & ~np.isnan(whole))).all()


def _moved(bars: pl.DataFrame, n: int) -> np.ndarray:
    """Where TA-Lib's 0 for 0/0 cannot stand."""
    return (
        bars.select((pl.col("high").rolling_max(n) > pl.col("low").rolling_min(n)).fill_null(False))
        .to_series()
        .to_numpy()
    )


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["rsi", "atr", "ema20", "ema96"])
def test_equals_talib_from_the_first_value_with_its_seed(name: str) -> None:
    seeded: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
        "rsi": lambda h, low, c: ind.rsi(c, seed="sma"),
        "atr": lambda h, low, c: ind.atr(h, low, c, seed="sma"),
        "ema20": lambda h, low, c: ind.ema(c, 20, seed="sma"),
        "ema96": lambda h, low, c: ind.ema(c, 96, seed="sma"),
    }
    for path in NAMES:
        bars = recorded_bars(path, 20_000)
        ours = seeded[name](*(bars[column].to_numpy() for column in ("high", "low", "close")))
        theirs = _talib(name, bars)
        theirs = np.where(theirs == 0, np.nan, theirs) if name == "rsi" else theirs
        ours = np.where(ours == 0, np.nan, ours) if name == "rsi" else ours
        assert (np.isnan(ours) == np.isnan(theirs)).all(), path
        ok = ~np.isnan(ours)
        assert (np.abs(ours - theirs)[ok] / np.abs(theirs)[ok]).max() <= 1e-12, path


@pytest.mark.parametrize("name", OURS)
def test_a_nan_inside_poisons_nothing(name: str) -> None:
    rng = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.003, 3000)))
    bars = close * 1.002, close * 0.998, close
    broken = tuple(np.where(np.arange(3000) == 1000, np.nan, series) for series in bars)
    clean, hurt = OURS[name](*bars), OURS[name](*broken)
    assert np.isnan(hurt[1000])
    assert not np.isnan(hurt[1000 + WINDOW.get(name, 1) :]).any()
    assert clean[-1] == pytest.approx(hurt[-1], rel=1e-9)
    assert np.array_equal(clean[:1000], hurt[:1000], equal_nan=True)


def test_a_constant_window_has_no_sigma_and_no_place_in_its_range() -> None:
    close = np.r_[100 * np.exp(np.cumsum(np.full(50, 0.01))), np.full(40, 3.3e-7)]
    assert ind.bollinger(close).sigma[-20:].tolist() == [0.0] * 20
    assert np.isnan(ind.stochastic(close, close, close)[-20:]).all()
    assert np.isnan(ind.rsi(close[-40:])).all()


def test_bands_hold_the_residuals_of_a_line() -> None:
    rng = np.random.default_rng(3)
    y = np.log(50.0) + 1e-4 * np.arange(500) + rng.normal(0, 1e-3, 500)
    y[[120, 121, 300]] = np.nan
    line = ind.ols(y, 96, min_samples=92)
    for row in (95, 150, 200, 350, 499):
        window = y[row - 95 : row + 1]
        here = ~np.isnan(window)
        slope, intercept = np.polyfit(np.arange(96)[here], window[here], 1)
        residual = window[here] - (intercept + slope * np.arange(96)[here])
        assert line.slope[row] == pytest.approx(slope, rel=1e-9)
        assert line.end[row] == pytest.approx(intercept + slope * 95, rel=1e-12)
        assert line.sigma[row] == pytest.approx(residual.std(), rel=1e-7)
    assert np.isnan(line.slope[120])
