"""Our broker beside vectorbt and backtesting.py: the same signals on the same bars, seconds.

    python bench/trading_engines.py [--instruments 90] [--days 180] [--vectorbt PYTHON] [--backtesting PYTHON]

Signals are the setups of SWING and CHANNEL of the set ``loose`` (one order each, a fixed stop and target) on generated
15m bars. Ours does them twice: without limits and ledger-free paths alone (``paths``), and with risk, sizes, orders,
fills, postings and the equity of every moment (``paths and account``). The others are given entries, stops and targets,
and keep their own accounts, without limits, order types, time exits or postings. PYTHON: interpreters of environments
with vectorbt and backtesting (crypto_pipeline_tests/oracles/trading_engines.py says how to make one).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import load, machine, numbers, table

from crypto_pipeline.arrays.grid import COLUMNS
from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.labels.compute import SetupContext, find_setups
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.strategies.dca import halts
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Timeframe, roll_up_all
from crypto_pipeline.trading.account import AccountState
from crypto_pipeline.trading.marks import Marks
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.paths import TradePaths, trade_paths
from crypto_pipeline.trading.signals import merged, signals_of
from crypto_pipeline.trading.simulate import simulate
from crypto_pipeline_tests.builders.label_market import START, minutes

_PROGRAM = Path(__file__).parent.parent / "crypto_pipeline_tests/oracles/engine_speed_program.py"
_STRATEGIES = (Strategy.SWING, Strategy.CHANNEL)
SETS = parameter_sets({})["loose"]


def market(
    count: int, days: int, strategies: Sequence[Strategy] = _STRATEGIES, seed: int = 0
) -> tuple[Panel, pl.DataFrame]:
    """Bars and signals in the order in which they are decided."""
    names = ["BTC-USDT", *(f"COIN{number:02d}-USDT" for number in range(1, count))]
    parts = [
        roll_up_all(minutes(name, days, seed + place), (Timeframe.M15, Timeframe.H1))
        for place, name in enumerate(names)
    ]
    end = START + timedelta(days=days)

    def panel_of(timeframe: Timeframe) -> Panel:
        bars = pl.concat([part[timeframe].select("instrument", "open_time", *COLUMNS) for part in parts])
        return Panel.from_bars(bars, names, START, end, timeframe)

    panel, hours = panel_of(Timeframe.M15), panel_of(Timeframe.H1)
    tiers = {name: ("large", "mid", "meme")[place % 3] for place, name in enumerate(names)}
    context = SetupContext(halts(panel.close[0]), hours)
    frames = [
        signals_of(each, panel, find_setups(each, panel, context, SETS[each], tiers), tiers, SETS[each].hash)
        for each in strategies
    ]
    return panel, merged(frames)


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    found = work()
    return time.perf_counter() - begun, found


def write(panel: Panel, signals: pl.DataFrame, paths: TradePaths, path: Path) -> None:
    """The file of the program that runs elsewhere; only signals that are entered."""
    rows = np.flatnonzero(paths.entered)
    numbers_ = {name: number for number, name in enumerate(panel.names)}
    np.savez(
        path, open=panel.open.T, high=panel.high.T, low=panel.low.T, close=panel.close.T, fee=0.0026,
        bar=(paths.entry_ts[rows] - panel.grid.first) // panel.grid.step,
        instrument=np.array([numbers_[name] for name in signals["instrument"].to_list()])[rows],
        stop=paths.stop[rows], target=paths.first_target[rows],
    )  # fmt: skip


def main() -> None:
    parser = numbers(__doc__, instruments=90, days=180)
    parser.add_argument("--vectorbt")
    parser.add_argument("--backtesting")
    given = parser.parse_args()
    print(machine())
    panel, signals = market(int(given.instruments), int(given.days))
    parameters = TradingParameters()
    start = AccountState.begin(parameters, panel.grid.first)
    trade_paths(panel, signals[:10], parameters, SETS)  # compiled before anything is measured
    took, paths = seconds(lambda: trade_paths(panel, signals, parameters, SETS))
    booking, made = seconds(lambda: simulate(signals, paths, Marks(panel), parameters, start))
    ended = int((paths.outcome[paths.entered] > 0).sum())
    ours = took + booking
    rows = [
        ["ours: paths of all signals", f"{took:.2f}", ended, f"{ours / took:.1f} times as fast as with the account"],
        ["ours: paths and account", f"{ours:.2f}", made.trades.height, "1"],
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "market.npz"
        write(panel, signals, paths, file)
        for name in ("vectorbt", "backtesting"):
            if (interpreter := getattr(given, name)) is not None:
                said = subprocess.run(
                    [interpreter, str(_PROGRAM), name, str(file)], capture_output=True, text=True, check=True
                )
                told = json.loads(said.stdout)
                ratio = f"{told['seconds'] / ours:.1f} times as long as ours with the account"
                rows.append([name, f"{told['seconds']:.2f} (first run {told['first']:.2f})", told["trades"], ratio])
    table(["engine", "seconds", "trades ended", "ratio"], rows)
    print(f"{signals.height} signals, {panel.open.size:,} bars, load {load()}")


if __name__ == "__main__":
    main()
