"""Bars as arrays that features are made of: a row per instrument on a gapless grid, NaN where a bar is absent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from crypto_pipeline.arrays.arithmetic import lagged
from crypto_pipeline.arrays.rolling import (
    Floats,
    rolling_comoments,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_moments,
)
from crypto_pipeline.features.definitions import indicators
from crypto_pipeline.features.definitions.feature import enough

Flags = npt.NDArray[np.bool_]
DAY, WEEK = 96, 672
_T = TypeVar("_T")


class BarSeries:
    """Prices and volume (instruments × rows, Float64), and what several features are made of, each computed once.

    Windows tolerate absent rows as ``feature.enough`` says. ``benchmark`` is that of one instrument on the same grid;
    without it the instruments are compared with themselves.
    """

    def __init__(self, bars: Mapping[str, Floats], benchmark: BarSeries | None = None) -> None:
        self.open, self.high, self.low, self.close = (bars[name] for name in ("open", "high", "low", "close"))
        self.volume = bars["volume"]
        self.benchmark = benchmark or self
        self._found: dict[tuple[str, int], object] = {}

    @cached_property
    def there(self) -> Flags:
        """Whether there is a bar, by instrument and row."""
        return ~np.isnan(self.close)

    @cached_property
    def y(self) -> Floats:
        """Log close."""
        return known(np.log(self.close))

    @cached_property
    def r(self) -> Floats:
        """Log return over one bar."""
        return self.lr(1)

    @cached_property
    def atr(self) -> Floats:
        """Average true range, 14 bars."""
        return indicators.atr(self.high, self.low, self.close)

    @cached_property
    def rsi(self) -> Floats:
        """Relative strength index, 14 bars, 0 to 100."""
        return indicators.rsi(self.close)

    @cached_property
    def span(self) -> Floats:
        """High minus low, NaN where there is none."""
        span = self.high - self.low
        return np.where(span > 0, span, np.nan)

    @cached_property
    def dollar(self) -> Floats:
        """Dollar volume: close times volume, in the quote asset."""
        return self.close * self.volume

    @cached_property
    def bands(self) -> indicators.Bands:
        """Bollinger bands of 20 closes."""
        return indicators.bollinger(self.close, 20, min_samples=enough(20))

    @cached_property
    def with_itself(self) -> tuple[Floats, Floats, Floats]:
        """Variance of a day's returns, of those a bar before each, and their covariance."""
        return rolling_comoments(self.r, lagged(self.r), DAY, enough(DAY))

    @cached_property
    def with_benchmark(self) -> tuple[Floats, Floats, Floats]:
        """Variance of a week's returns, of the benchmark's in the same bars, and their covariance."""
        return rolling_comoments(self.r, np.broadcast_to(self.benchmark.r, self.r.shape), WEEK, enough(WEEK))

    def lr(self, n: int) -> Floats:
        """Log return over ``n`` rows; NaN when either end is missing."""
        return self._once("lr", n, lambda: self.y - lagged(self.y, n))

    def sigma(self, n: int) -> Floats:
        """Sample standard deviation of the log returns of ``n`` bars; exactly 0 where all are equal."""
        return self._once("sigma", n, lambda: rolling_moments(self.r, n, enough(n))[1])

    def high_of(self, n: int) -> Floats:
        """Highest high of ``n`` bars."""
        return self._once("high", n, lambda: rolling_max(self.high, n, enough(n)))

    def low_of(self, n: int) -> Floats:
        """Lowest low of ``n`` bars."""
        return self._once("low", n, lambda: rolling_min(self.low, n, enough(n)))

    def mean_volume(self, n: int) -> Floats:
        """Mean volume of ``n`` bars."""
        return self._once("volume", n, lambda: mean(self.volume, n))

    def warm(self, n: int, value: Floats) -> Floats:
        """``value`` where enough of the last ``n`` bars are present, NaN elsewhere."""
        return np.where(self.has(n), value, np.nan)

    def has(self, n: int) -> Flags:
        """Whether enough of the last ``n`` bars are present."""
        return self._once("has", n, lambda: _counted(self.there, n) >= enough(n))

    def trades_in_half(self, n: int) -> Flags:
        """Where something traded in at least half of the last ``n`` bars: others may be stated flat, or filled."""
        return self._once("trades_in_half", n, lambda: _counted(self.volume > 0, n) * 2 >= n)

    def _once(self, name: str, n: int, make: Callable[[], _T]) -> _T:
        if (name, n) not in self._found:
            self._found[name, n] = make()
        return self._found[name, n]  # type: ignore[return-value]


def mean(x: Floats, n: int) -> Floats:
    """Mean over ``n`` rows, NaN where too few of them are present."""
    return rolling_mean(x, n, enough(n))


def known(x: Floats) -> Floats:
    """``x`` (changed in place) with NaN for infinite values."""
    x[np.isinf(x)] = np.nan
    return x


def _counted(flags: Flags, n: int) -> npt.NDArray[np.int32]:
    """How many of the last ``n`` are true."""
    counts: npt.NDArray[np.int32] = np.cumsum(flags, axis=-1, dtype=np.int32)
    counts[..., n:] -= counts[..., :-n].copy()
    return counts
