"""The same signals for other people's engines: real bars of eight pairs, and what our broker makes of each signal.

Setups of the set ``loose`` on 30 days of Binance's bars (April and May 2021, with an outage of 284 minutes), as trades
with fee and without slippage, which those engines do not have by order type. Prices of orders are given with the
signals: how an engine fills them is what is compared. Golden tables under ``golden/`` are answers of the engines; the
module of each engine says how it was asked.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Ints, Panel
from crypto_pipeline.labels.barrier_types import BarrierOutcome, Plans
from crypto_pipeline.labels.barriers import touch
from crypto_pipeline.labels.compute import SetupContext, find_setups
from crypto_pipeline.labels.costs import net_return
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.strategies.base import Parameters
from crypto_pipeline.labels.strategies.dca import halts
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Timeframe
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.paths import TradePaths, trade_paths
from crypto_pipeline.trading.signals import merged, signals_of
from crypto_pipeline_tests.builders.recorded_bars import recorded_market

GOLDEN = Path(__file__).with_name("golden")
FEE, BAR = 0.0026, 15 * 60_000
_BASES = ("ADA", "BCH", "BTC", "DOGE", "ETH", "LINK", "LTC", "XRP")
_NAMES = tuple((f"{base}-USDT", f"binance_spot/{base}_USDT-1m-2021-04") for base in _BASES)
_NO_SLIPPAGE = {"costs": {"fee": FEE, "slippage_large": 0.0, "slippage_mid": 0.0, "slippage_meme": 0.0}}


@dataclass(frozen=True)
class SignalBook:
    """Bars, signals with their paths, and the parameters that they were made with."""

    panel: Panel
    signals: pl.DataFrame
    paths: TradePaths
    strategies: dict[Strategy, Parameters]

    def rows(self, *strategies: Strategy) -> list[int]:
        """Signals of these strategies whose trades were entered and have ended."""
        ended = self.paths.entered & (self.paths.outcome != BarrierOutcome.OPEN)
        of = self.signals["strategy"].is_in([str(each) for each in strategies]).to_numpy()
        return [int(row) for row in np.flatnonzero(ended & of)]

    def alone(self, rows: list[int]) -> list[int]:
        """Those of ``rows`` that begin when the one before of the same strategy and instrument has ended, with an hour
        between them: what an engine with one trade at a time can do.
        """
        free: dict[tuple[str, str], int] = {}
        kept = []
        for row in rows:
            key = (self.signals["strategy"][row], self.signals["instrument"][row])
            if self.paths.entry_ts[row] >= free.get(key, 0):
                kept.append(row)
                free[key] = int(self.paths.exit_ts[row]) + 4 * BAR
        return kept

    def question(self, rows: list[int]) -> dict[str, Any]:
        """Bars by instrument, the signals at ``rows`` and planted ones, as JSON values; times are Unix milliseconds."""
        panel, bars = self.panel, {}
        times = panel.grid.first + panel.grid.step * np.arange(panel.width)
        for number, name in enumerate(panel.names):
            there = ~np.isnan(panel.open[number])
            columns = {part: getattr(panel, part)[number][there].tolist() for part in _PARTS}
            bars[name] = {"time": times[there].tolist(), **columns}
        signals = [self._signal(row) for row in rows] + planted_gaps(panel).signals
        return {"fee": FEE, "bars": bars, "signals": signals}

    def _signal(self, row: int) -> dict[str, Any]:
        paths, strategy = self.paths, Strategy(self.signals["strategy"][row])
        orders = paths.orders[row][~np.isnan(paths.orders[row])]
        tier = self.strategies[strategy].exits.of(self.signals["tier"][row])
        return {
            "id": row, "strategy": str(strategy), "instrument": self.signals["instrument"][row],
            "time": self.signals["signal_ts"].to_physical()[row], "orders": orders.tolist(),
            "stop": float(paths.stop[row]), "target": float(paths.first_target[row]), "profit": tier.take_profit,
            "end": int(paths.entry_ts[row]) + self.strategies[strategy].horizon * BAR,
        }  # fmt: skip


_PARTS = ("open", "high", "low", "close", "volume")
#: Ids of planted trades begin here; of each instrument and direction at most so many.
PLANTED, _MOST_PLANTED = 10_000, 4


@dataclass(frozen=True)
class PlantedTrades:
    """Trades whose stop or target lies where a bar opens beyond it: what real signals hardly ever meet."""

    signals: list[dict[str, Any]]
    outcome: list[int]
    exit: list[int]
    exit_price: list[float]
    net_return: list[float]


def planted_gaps(panel: Panel) -> PlantedTrades:
    """On every instrument some bars that open below the low (or above the high) of the bar before: a trade entered at
    the open of that one, with a stop (or target) halfway between.
    """
    signals: list[dict[str, Any]] = []
    rows: list[tuple[int, float, float]] = []
    for number, name in enumerate(panel.names):
        opened, high, low = panel.open[number], panel.high[number], panel.low[number]
        down = 1 + np.flatnonzero(opened[1:] < low[:-1])
        up = 1 + np.flatnonzero(opened[1:] > high[:-1])
        gaps = [(place, 0) for place in _spread(down)] + [(place, 1) for place in _spread(up)]
        for place, rising in sorted(gaps):
            edge, entry = (high if rising else low)[place - 1], opened[place - 1]
            barrier = float((edge + opened[place]) / 2)
            stop, target = (entry * 0.5, barrier) if rising else (barrier, entry * 2)
            entry_ts = panel.grid.first + BAR * (place - 1)
            signals.append({
                "id": PLANTED + len(signals), "strategy": "planted", "instrument": name, "time": entry_ts - BAR,
                "orders": [float(entry)], "stop": float(stop), "target": float(target), "profit": 0.0,
                "end": entry_ts + 288 * BAR,
            })  # fmt: skip
            rows.append((number * panel.width + place - 1, float(stop), float(target)))
    entry = np.array([row[0] for row in rows])
    orders = panel.open.ravel()[entry][:, None]
    plans = Plans(
        entry, (entry // panel.width + 1) * panel.width, orders, np.array([row[1] for row in rows]),
        np.array([row[2] for row in rows]), np.zeros(len(rows)),
    )  # fmt: skip
    found = touch(panel, plans, 288)
    net = net_return(orders[:, 0], found.exit_price, FEE)
    ended = [signal["time"] + BAR * int(bars) for signal, bars in zip(signals, found.bars, strict=True)]
    return PlantedTrades(signals, found.outcome.tolist(), ended, found.exit_price.tolist(), net.tolist())


def _spread(places: Ints) -> list[int]:
    """A few of them, apart from each other and not at the edge."""
    kept: list[int] = []
    for place in places.tolist():
        if 400 < place < 2_500 and (not kept or place - kept[-1] > 300) and len(kept) < _MOST_PLANTED:
            kept.append(place)
    return kept


@cache
def signal_book() -> SignalBook:
    """The signals on recorded bars, all instruments as of the tier ``large``."""
    market = recorded_market(_NAMES, 30)
    bars, names = market[Timeframe.M15], [name for name, _ in _NAMES]
    opened = bars["open_time"].to_list()
    start, end = min(opened), max(opened) + timedelta(minutes=15)
    panel, hours = (
        Panel.from_bars(market[timeframe], names, Timeframe.H1.floor(start), end, timeframe)
        for timeframe in (Timeframe.M15, Timeframe.H1)
    )
    tiers = dict.fromkeys(names, "large")
    strategies = parameter_sets({"loose": {str(each): _NO_SLIPPAGE for each in Strategy}})["loose"]
    context = SetupContext(halts(panel.close[names.index("BTC-USDT")]), hours)
    signals = merged(
        [
            signals_of(strategy, panel, find_setups(strategy, panel, context, own, tiers), tiers, own.hash)
            for strategy, own in strategies.items()
        ]
    )
    free = TradingParameters(limits=False)
    return SignalBook(panel, signals, trade_paths(panel, signals, free, strategies), strategies)


def write_golden(name: str, trades: list[dict[str, Any]]) -> None:
    """Keep an engine's trades as a table."""
    GOLDEN.mkdir(exist_ok=True)
    with (GOLDEN / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(trades[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(trades)


def read_golden(name: str) -> list[dict[str, Any]]:
    """An engine's trades as they were kept."""
    with (GOLDEN / f"{name}.csv").open(newline="") as file:
        return [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _number(text: str) -> Any:
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return text
