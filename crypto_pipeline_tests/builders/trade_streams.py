"""Random streams of signals on a small, violent market: everything that can happen to an account happens often."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.arrays.grid import Grid
from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.strategies.base import TIMEFRAME, Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.trading.account import AccountState
from crypto_pipeline.trading.ledger.records import Simulation
from crypto_pipeline.trading.marks import Marks
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.paths import TradePaths, trade_paths
from crypto_pipeline.trading.signals import MEASURE, SIGNAL_SCHEMA, merged
from crypto_pipeline.trading.simulate import simulate

START = datetime(2026, 3, 6, 20, tzinfo=UTC)  # a Friday evening: a day and a week end within the stream
NAMES = ("BTC-USDT", "ARB-USDT", "PEPE-USDT", "KRW-KRW")
TIERS = {"BTC-USDT": "large", "ARB-USDT": "mid", "PEPE-USDT": "meme", "KRW-KRW": "mid"}
_PRICES = np.array([64_000.0, 0.8, 0.00000123, 12.0])
_HORIZONS = {"dca": {"horizon": 24}, "swing": {"horizon": 16}, "channel": {"horizon": 20}}
SETS = parameter_sets({"default": _HORIZONS})["default"]


@dataclass(frozen=True)
class TradeStream:
    """A market with its signals, and the parameters of the account that trades it."""

    panel: Panel
    signals: pl.DataFrame
    parameters: TradingParameters
    sets: dict[Strategy, Parameters]

    def paths(self, panel: Panel | None = None) -> TradePaths:
        """The paths of all signals."""
        return trade_paths(panel or self.panel, self.signals, self.parameters, self.sets)

    def run(self, start: AccountState | None = None, until: int | None = None, **more: Any) -> Simulation:
        """The account from its begin, or from a state."""
        begin = AccountState.begin(self.parameters, self.panel.grid.first) if start is None else start
        return simulate(self.signals, self.paths(), Marks(self.panel), self.parameters, begin, until, **more)


def trade_stream(seed: int, bars: int = 160, signals: int | None = None, **parameters: Any) -> TradeStream:
    """The stream of a seed. Number of ``signals`` and ``parameters`` of the account that are not given are drawn."""
    random = np.random.default_rng(seed)
    panel = _panel(random, bars)
    drawn = {
        "capital": Decimal(int(random.choice([500, 10_000, 3_000_000]))),
        "max_open": int(random.integers(1, 6)),
        "per_instrument": int(random.integers(1, 3)),
        "max_exposure": float(random.choice([0.2, 0.4, 2.0])),
        "max_open_risk": float(random.choice([0.005, 0.06, 2.0])),
        "max_position": float(random.choice([0.15, 0.6])),
        "risk_per_trade": float(random.choice([0.015, 0.2])),
        "daily_loss": float(random.choice([0.01, 0.05])),
        "weekly_loss": float(random.choice([0.02, 0.10])),
        "drawdown_halt": float(random.choice([0.02, 0.05, 0.15])),
        "drawdown_pause_hours": float(random.choice([2, 168])),
        "drawdown_reset": float(random.choice([0.022, 0.06, 0.2])),
        "stops_in_row": int(random.integers(1, 4)),
    }
    made = TradingParameters.model_validate({**drawn, **parameters})
    return TradeStream(panel, _signals(random, panel, signals or int(random.integers(3, 40))), made, dict(SETS))


def _panel(random: np.random.Generator, bars: int) -> Panel:
    deviation = random.choice([0.004, 0.01, 0.03])
    shape = (len(NAMES), bars)
    close = _PRICES[:, None] * np.exp(np.cumsum(random.normal(0, deviation, shape), axis=1))
    gap = np.exp(random.normal(0, deviation / 2, shape) * (random.random(shape) < 0.3))
    first = np.concatenate((_PRICES[:, None], close[:, :-1]), axis=1) * gap
    high = np.maximum(first, close) * (1 + random.exponential(deviation / 2, shape))
    low = np.minimum(first, close) * (1 - random.exponential(deviation / 2, shape)).clip(0.5)
    columns = (first, high, low, close, random.exponential(1e6, shape) / _PRICES[:, None])
    absent = random.random(shape) < 0.03
    for column in columns:
        column[absent] = np.nan
    return Panel(NAMES, Grid(TIMEFRAME, START, START + bars * TIMEFRAME.delta), *columns)


def _signals(random: np.random.Generator, panel: Panel, count: int) -> pl.DataFrame:
    rows = {}
    for _ in range(count):
        number, place = int(random.integers(len(NAMES))), int(random.integers(2, panel.width))
        if np.isnan(price := panel.close[number, place]):
            continue
        strategy = str(random.choice(list(Strategy)))
        predicted = random.random() < 0.4
        rows[strategy, NAMES[number], place] = {
            "strategy": strategy, "instrument": NAMES[number], "signal_ts": int(panel.times(np.array([place]))[0]),
            "tier": TIERS[NAMES[number]], "decision_price": float(price),
            "day_volume": float(random.choice([500.0, 1e5, 1e9])),
            "stress": None if random.random() < 0.1 else int(random.choice([-2, -1, 0, 0, 0, 1])),
            "regime": int(random.integers(-2, 2)), "volatility": 0.03, "strength": 0.0, "params_hash": "p",
            "ml_mode": str(random.choice(["boost", "gate"])) if predicted else None,
            "probability": float(random.uniform(0.05, 0.95)) if predicted else None,
            "p_star": 0.45 if predicted else None, "model_id": "m" if predicted else None,
            f"{MEASURE}target": float(price * random.uniform(1.005, 1.05)),
            f"{MEASURE}channel_stop": float(price * random.uniform(0.94, 0.995)),
        }  # fmt: skip
    schema = {**SIGNAL_SCHEMA, "signal_ts": pl.Int64(), f"{MEASURE}target": pl.Float64(),
              f"{MEASURE}channel_stop": pl.Float64()}  # fmt: skip
    frame = pl.DataFrame(list(rows.values()), schema=schema).with_columns(pl.col("signal_ts").cast(UTC_MS))
    return merged([frame])


def moments(stream: TradeStream) -> list[int]:
    """Every moment of a stream."""
    grid = stream.panel.grid
    return [grid.first + grid.step * (place + 1) for place in range(stream.panel.width)]


__all__ = ["NAMES", "SETS", "START", "TIERS", "TradeStream", "moments", "trade_stream"]
