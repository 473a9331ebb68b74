"""Run by an interpreter with vectorbt or backtesting: how long an engine takes for many signals on many instruments.

    python engine_speed_program.py ENGINE MARKET.npz

The file has ``open``, ``high``, ``low``, ``close`` (bars x instruments) and of each signal the ``bar`` of its entry,
the ``instrument``, ``stop`` and ``target`` (prices), in order of bars; ``fee`` is a fraction. Answers with seconds (of
vectorbt those of the second run, in which nothing is compiled) and the number of trades that ended.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np


def with_vectorbt(market: Any) -> int:
    """All instruments as one matrix. One trade at a time and instrument, as ``from_signals`` has it."""
    import vectorbt as vbt

    opened = market["open"]
    entries, stops, targets = np.zeros(opened.shape, bool), np.full(opened.shape, np.nan), np.full(opened.shape, np.nan)
    bar, column = market["bar"], market["instrument"]
    entries[bar, column] = True
    stops[bar, column] = 1 - market["stop"] / opened[bar, column]
    targets[bar, column] = market["target"] / opened[bar, column] - 1
    made = vbt.Portfolio.from_signals(
        market["close"], entries, np.zeros(opened.shape, bool), price=opened, open=opened, high=market["high"],
        low=market["low"], sl_stop=stops, tp_stop=targets, fees=float(market["fee"]), size=100.0, size_type="value",
        init_cash=1e9, freq="15min",
    )  # fmt: skip
    return int(made.trades.closed.count().sum())


def with_backtesting(market: Any) -> int:
    """An instrument after the other: the engine knows one."""
    import pandas as pd
    from backtesting import Backtest, Strategy

    index = pd.date_range("2026-01-01", periods=len(market["open"]), freq="15min")
    count = 0
    for column in range(market["open"].shape[1]):
        own = np.flatnonzero(market["instrument"] == column)
        by_bar: dict[int, list[tuple[float, float]]] = {}
        for row in own:
            by_bar.setdefault(int(market["bar"][row]) - 1, []).append((market["stop"][row], market["target"][row]))

        class Signals(Strategy):
            def init(self) -> None:
                self.signals = by_bar  # noqa: B023  (run before the next instrument)

            def next(self) -> None:
                for stop, target in self.signals.get(len(self.data) - 1, ()):
                    if stop < self.data.Close[-1] < target:
                        self.buy(size=1_000, sl=stop, tp=target)

        columns = {name.capitalize(): market[name][:, column] for name in ("open", "high", "low", "close")}
        frame = pd.DataFrame(columns, index).assign(Volume=1.0)
        engine = Backtest(frame, Signals, cash=1e12, commission=float(market["fee"]), finalize_trades=False)
        count += len(engine.run()["_trades"])
    return count


ENGINES: dict[str, Callable[[Any], int]] = {"vectorbt": with_vectorbt, "backtesting": with_backtesting}


def main() -> None:
    warnings.simplefilter("ignore")
    name, path = sys.argv[1:]
    market = dict(np.load(path))
    times = []
    for _ in range(2 if name == "vectorbt" else 1):
        begun = time.perf_counter()
        trades = ENGINES[name](market)
        times.append(time.perf_counter() - begun)
    json.dump({"seconds": times[-1], "first": times[0], "trades": trades}, sys.stdout)


if __name__ == "__main__":
    main()
