"""Run by an interpreter with backtesting 0.6.6: every signal as a trade of backtesting.py, all orders of its grid.

Reads the JSON document of ``trading_signals.SignalBook.question``; answers with one row per trade that ended. What the
engine offers is used as it is: an order is placed on the signal bar and filled at the next open, stop and target are
the trade's own, the take profit of a grid is moved after each bar, and an order to close is filled at the next open.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import defaultdict
from typing import Any

import pandas as pd
from backtesting import Backtest, Strategy


def strategy_of(signals: list[dict[str, Any]]) -> type[Strategy]:
    by_time = defaultdict(list)
    for signal in signals:
        by_time[signal["time"]].append(signal)

    class Signals(Strategy):
        def init(self) -> None:
            self.live: dict[int, dict[str, Any]] = {}

        def next(self) -> None:
            now = int(self.data.index[-1].value // 1_000_000)
            for number, signal in list(self.live.items()):
                self._follow(number, signal, now)
            for signal in by_time.get(now, ()):
                first, *later = signal["orders"]
                size = SPENT / first
                self.buy(size=whole(size), sl=signal["stop"], tp=signal["target"], tag=signal["id"])
                for price in later:
                    self.buy(size=whole(SPENT / price), limit=price, sl=signal["stop"], tag=signal["id"])
                self.live[signal["id"]] = signal

        def _follow(self, number: int, signal: dict[str, Any], now: int) -> None:
            """Move the take profit of a grid to its average, end what is over, cancel what is left of it."""
            open_ = [trade for trade in self.trades if trade.tag == number]
            closed = [trade for trade in self.closed_trades if trade.tag == number]
            entered = bool(open_ or closed)
            if entered and not open_:
                for order in list(self.orders):
                    if order.tag == number:
                        order.cancel()
                del self.live[number]
            elif now + BAR >= signal["end"]:
                for order in list(self.orders):
                    if order.tag == number and not order.is_contingent:
                        order.cancel()
                for trade in open_:
                    trade.close()
            elif len(signal["orders"]) > 1 and open_:
                average = sum(each.size * each.entry_price for each in open_) / sum(each.size for each in open_)
                for trade in open_:
                    trade.tp = average * (1 + signal["profit"])

    return Signals


BAR, SPENT = 15 * 60_000, 1e12


def whole(size: float) -> int:
    """The engine knows whole units alone: so many that rounding does not matter."""
    return max(1, round(size))


def run(bars: dict[str, list[float]], signals: list[dict[str, Any]], fee: float) -> list[dict[str, Any]]:
    index = pd.to_datetime(bars["time"], unit="ms")
    frame = pd.DataFrame({part.capitalize(): bars[part] for part in ("open", "high", "low", "close", "volume")}, index)
    engine = Backtest(frame, strategy_of(signals), cash=1e18, commission=fee, finalize_trades=False)
    trades = engine.run()["_trades"]
    rows = []
    for signal in signals:
        own = trades[trades["Tag"] == signal["id"]]
        if not len(own):
            continue
        first = own.sort_values(["EntryBar", "EntryPrice"], ascending=[True, False]).iloc[0]
        paid = float((own["Size"] * own["EntryPrice"]).sum()) * (1 + fee)
        got = float((own["Size"] * own["ExitPrice"]).sum()) * (1 - fee)
        rows.append({
            "id": signal["id"], "entry": int(own["EntryTime"].min().value // 1_000_000),
            "entry_price": float(first["EntryPrice"]), "filled": len(own),
            "exit": int(own["ExitTime"].max().value // 1_000_000), "exit_price": float(own["ExitPrice"].iloc[-1]),
            "net_return": got / paid - 1,
        })  # fmt: skip
    return rows


def main() -> None:
    warnings.simplefilter("ignore")
    question = json.load(sys.stdin)
    trades = []
    groups = sorted({(each["strategy"], each["instrument"]) for each in question["signals"]})
    for strategy, instrument in groups:
        own = [each for each in question["signals"] if (each["strategy"], each["instrument"]) == (strategy, instrument)]
        trades += run(question["bars"][instrument], own, question["fee"])
    json.dump(sorted(trades, key=lambda each: each["id"]), sys.stdout)


if __name__ == "__main__":
    main()
