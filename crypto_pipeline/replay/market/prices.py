"""Random draws for all days at once: each symbol's price level at every midnight, volatility and number of trades.

A day's tape depends only on (seed, symbol, day): the levels at both midnights and the first trade id come from these
draws over all days of the market, so any day can be generated without the days before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from crypto_pipeline.replay.market.symbols import DAY_MS, MARKET_END_MS, MARKET_START_MS, GeneratedSymbol

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FIRST_DAY = MARKET_START_MS // DAY_MS
DAYS = MARKET_END_MS // DAY_MS - FIRST_DAY
#: Share of trades that continue the previous trade's taker order: they form one aggregate trade with several ids.
CONTINUED = 0.15


def stream(seed: int, *words: object) -> np.random.Generator:
    """Random numbers that depend only on the seed and the words."""
    digest = hashlib.blake2b(repr((seed, *words)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def autoregressive(noise: Iterable[float], memory: float) -> Floats:
    """x[t] = memory · x[t-1] + noise[t]."""
    return np.fromiter(accumulate(noise, lambda x, e: memory * x + e), np.float64)


@lru_cache(maxsize=4)
def market_factor(seed: int) -> tuple[Floats, Floats]:
    """The whole market's daily return (in units of its volatility) and log volatility, one value per day."""
    random = stream(seed, "market")
    log_volatility = autoregressive(random.normal(0, 0.14, DAYS).tolist(), 0.95)
    return random.normal(0, 1, DAYS), log_volatility


@dataclass(frozen=True, slots=True)
class DailyPath:
    """Daily draws of one symbol. Day 0 is FIRST_DAY; ``anchors`` has one more entry (the last midnight)."""

    anchors: Ints
    volatility: Floats
    trades: Ints
    first_trade_id: Ints
    first_aggregate_id: Ints

    def aggregates(self, day: int) -> int:
        """Aggregate trades of the day."""
        return int(self.first_aggregate_id[day + 1] - self.first_aggregate_id[day])


def continued(trades: Ints) -> Ints:
    """Number of a day's trades that continue the order of the previous trade."""
    follows: Ints = np.floor(trades * CONTINUED).astype(np.int64)
    return follows


def daily_path(seed: int, one: GeneratedSymbol) -> DailyPath:
    """Draw all days of one symbol."""
    market_return, log_volatility = market_factor(seed)
    random = stream(seed, one.info.symbol, "daily")
    volatility = one.daily_volatility * np.exp(log_volatility)
    own = random.standard_t(5, DAYS) * 0.6
    returns = volatility * (0.7 * one.beta * market_return + own)
    # Mean reversion with a half-life of some months keeps prices plausible in any year.
    log_price = np.concatenate(([0.0], autoregressive(returns.tolist(), 0.996)))
    ticks = np.rint(one.level * np.exp(log_price) * 10**one.info.tick_decimals).astype(np.int64)
    counts = _daily_trades(random, one, log_volatility)
    ids = np.concatenate(([1], 1 + np.cumsum(counts)))
    aggregate_ids = np.concatenate(([1], 1 + np.cumsum(counts - continued(counts))))
    return DailyPath(np.maximum(ticks, 10), volatility, counts, ids, aggregate_ids)


def _daily_trades(random: np.random.Generator, one: GeneratedSymbol, log_volatility: Floats) -> Ints:
    activity = np.exp(0.6 * log_volatility + random.normal(0, 0.1, DAYS))
    drawn = random.poisson(one.trades_per_minute * 1440 * activity)
    starts = (FIRST_DAY + np.arange(DAYS)) * DAY_MS
    listed = np.clip(starts + DAY_MS - one.info.listed_ms, 0, DAY_MS)
    if one.info.delisted_ms is not None:
        listed = np.minimum(listed, np.clip(one.info.delisted_ms - starts, 0, DAY_MS))
    counts = np.floor(drawn * (listed / DAY_MS)).astype(np.int64)
    # At least one trade per listed day: the last one has the midnight level, which the next day's flat bars repeat.
    return np.where(listed > 0, np.maximum(counts, 1), 0)
