"""One symbol's trades of one generated day, in exact integers: prices in ticks, quantities in steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from crypto_pipeline.replay.market.prices import (
    FIRST_DAY,
    DailyPath,
    Floats,
    Ints,
    autoregressive,
    continued,
    market_factor,
    stream,
)
from crypto_pipeline.replay.market.symbols import DAY_MS, GeneratedSymbol, SymbolInfo

MINUTES = 1440
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DayTrades:
    """Individual trades, oldest first; ids run from ``first_id``. ``head`` marks the first of each aggregate trade."""

    time_ms: Ints
    price: Ints
    quantity: Ints
    taker_buys: Mask
    head: Mask
    first_id: int
    first_aggregate_id: int

    def until(self, now_ms: int) -> DayTrades:
        """Only the trades up to ``now_ms``."""
        seen = int(np.searchsorted(self.time_ms, now_ms, side="right"))
        return DayTrades(
            self.time_ms[:seen],
            self.price[:seen],
            self.quantity[:seen],
            self.taker_buys[:seen],
            self.head[:seen],
            self.first_id,
            self.first_aggregate_id,
        )


@lru_cache(maxsize=4096)
def outage_minutes(seed: int, day: int) -> tuple[int, int]:
    """Minutes [start, end) of the day in which the whole venue was down; empty on 9 of 10 days."""
    random = stream(seed, "outage", day)
    if random.random() >= 0.1:
        return 0, 0
    start = int(random.integers(0, MINUTES - 5))
    length = min(180, max(4, int(random.lognormal(3.0, 0.9))))
    return start, min(MINUTES, start + length)


@lru_cache(maxsize=512)
def _market_day(seed: int, day: int) -> tuple[Floats, Floats]:
    """The market's log price within the day (zero at both midnights, unit volatility) and its activity, by minute."""
    random = stream(seed, "market-day", day)
    activity = np.exp(autoregressive(random.normal(0, 0.1, MINUTES).tolist(), 0.97))
    path = np.concatenate(([0.0], np.cumsum(random.normal(0, 1, MINUTES) * activity)))
    spread = np.sqrt(np.sum(activity**2))
    path = (path - np.linspace(0, path[-1], MINUTES + 1)) / spread
    # Activity differs by the hour of the day.
    hours = 1 + 0.35 * np.sin(2 * np.pi * (np.arange(MINUTES) / MINUTES - 0.38))
    return path, activity * hours


def open_minutes(seed: int, info: SymbolInfo, day: int) -> Mask:
    """Minutes of the day in which the symbol could trade: it is listed, and the venue is up."""
    mask = np.ones(MINUTES, dtype=np.bool_)
    start, end = outage_minutes(seed, day)
    mask[start:end] = False
    opens = (FIRST_DAY + day) * DAY_MS + np.arange(MINUTES) * 60_000
    mask &= opens >= info.listed_ms - info.listed_ms % 60_000
    if info.delisted_ms is not None:
        mask &= opens < info.delisted_ms
    return mask


def make_day(seed: int, one: GeneratedSymbol, path: DailyPath, day: int) -> DayTrades:
    """The tape of day number ``day`` (0 is FIRST_DAY); it depends only on (seed, symbol, day)."""
    random = stream(seed, one.info.symbol, day)
    count = int(path.trades[day])
    market_path, activity = _market_day(seed, day)
    activity = activity * np.exp(autoregressive(random.normal(0, 0.12, MINUTES).tolist(), 0.96))
    jumps = _jump_minutes(random, activity)
    times = _times(random, count, activity * open_minutes(seed, one.info, day)) + (FIRST_DAY + day) * DAY_MS
    minutes = (times - (FIRST_DAY + day) * DAY_MS) // 60_000
    log_price, steps = _log_price(random, one, path, day, activity, minutes, jumps)
    moved = (times - (FIRST_DAY + day) * DAY_MS) / 60_000
    _, log_volatility = market_factor(seed)
    market_scale = 0.7 * one.beta * one.daily_volatility * np.exp(log_volatility[day])
    log_price += market_scale * np.interp(moved, np.arange(MINUTES + 1), market_path)
    buys = steps + random.normal(0, np.std(steps) + 1e-12, count) > 0
    middle = path.anchors[day] * np.exp(log_price)
    price = np.maximum(np.rint(middle + np.where(buys, 0.5, -0.5)), 1).astype(np.int64)
    quantity = _quantities(random, one, middle)
    return _with_aggregates(random, path, day, times, price, quantity, buys)


def _jump_minutes(random: np.random.Generator, activity: Floats) -> list[tuple[int, float]]:
    """Price jumps of the day: (minute, size in daily volatilities). Each raises ``activity`` for a while."""
    jumps = []
    for _ in range(int(random.poisson(0.4))):
        minute = int(random.integers(0, MINUTES))
        jumps.append((minute, float(random.normal(0, 0.7))))
        burst = activity[minute : minute + 45]
        burst *= 1 + 5 * np.exp(-np.arange(len(burst)) / 9)
    return jumps


def _times(random: np.random.Generator, count: int, weights: Floats) -> Ints:
    """Sorted times in ms of the day, from spacings of a Poisson process. Minutes of weight 0 stay empty."""
    spacings = np.cumsum(random.exponential(1, count + 1))
    uniform = spacings[:-1] / spacings[-1]
    cumulated = np.cumsum(weights)
    minute = np.minimum(np.searchsorted(cumulated, uniform * cumulated[-1], side="right"), np.flatnonzero(weights)[-1])
    into = (uniform * cumulated[-1] - (cumulated[minute] - weights[minute])) / weights[minute]
    times: Ints = (minute * 60_000 + np.clip(into * 60_000, 0, 59_999)).astype(np.int64)
    return times


def _log_price(
    random: np.random.Generator,
    one: GeneratedSymbol,
    path: DailyPath,
    day: int,
    activity: Floats,
    minutes: Ints,
    jumps: list[tuple[int, float]],
) -> tuple[Floats, Floats]:
    """Log price relative to this midnight's level, bridged to the next midnight's level, and its steps."""
    scale = activity[minutes]
    steps = random.normal(0, 1, len(minutes)) * scale
    steps *= 0.7 * path.volatility[day] / np.sqrt(np.sum(scale**2))
    for minute, size in jumps:
        place = int(np.searchsorted(minutes, minute))
        if place < len(steps):
            steps[place] += size * one.daily_volatility
    walked = np.cumsum(steps)
    share = np.cumsum(scale**2)
    target = np.log(path.anchors[day + 1] / path.anchors[day])
    return walked + (target - walked[-1]) * (share / share[-1]), steps


def _quantities(random: np.random.Generator, one: GeneratedSymbol, middle: Floats) -> Ints:
    notional = np.exp(random.normal(5.0, 1.3, len(middle)))
    price = middle / 10**one.info.tick_decimals
    steps: Ints = np.maximum(np.rint(notional / price * 10**one.info.step_decimals), 1).astype(np.int64)
    return steps


def _with_aggregates(
    random: np.random.Generator,
    path: DailyPath,
    day: int,
    times: Ints,
    price: Ints,
    quantity: Ints,
    buys: Mask,
) -> DayTrades:
    """Let the day's share of trades continue the previous order: same time, price and side, but own ids."""
    count = len(times)
    follows = int(continued(path.trades[day : day + 1])[0])
    head = np.ones(count, dtype=np.bool_)
    if follows:
        head[1 + np.argpartition(random.random(count - 1), follows - 1)[:follows]] = False
    leader = np.maximum.accumulate(np.where(head, np.arange(count), 0))
    price[leader[-1]] = path.anchors[day + 1]
    ids = int(path.first_trade_id[day]), int(path.first_aggregate_id[day])
    return DayTrades(times[leader], price[leader], quantity, buys[leader], head, *ids)
