"""Run by an interpreter with nautilus_trader 1.221.0: every signal as a position of its backtest engine.

Reads the JSON document of ``trading_signals.SignalBook.question``; answers with one row per position that ended. The
engine is given each bar twice: its open as a trade when the bar begins, on which a market order is filled, and the bar
when it ends. A position is entered with its stop and its take profit resting; orders of a grid rest too, and stop and
take profit are changed to what is held when one of them is filled. At the end of its horizon a position is closed on
the bar that ends there.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from decimal import Decimal
from typing import Any

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType, TradeTick
from nautilus_trader.model.enums import AccountType, AggressorSide, CurrencyType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, PositionId, Symbol, TradeId, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

BAR, NANOS, PLACES = 15 * 60_000, 1_000_000, 9
VENUE = Venue("SIM")


class Signals(Strategy):
    """Enters signals at the open of the bar after theirs, and notes what is filled."""

    def __init__(self, bar_type: BarType, signals: list[dict[str, Any]]) -> None:
        super().__init__()
        self.bar_type = bar_type
        self.by_entry: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for signal in signals:
            self.by_entry[signal["time"] + BAR].append(signal)
        self.live: dict[str, dict[str, Any]] = {}
        self.ended: list[dict[str, Any]] = []

    def on_start(self) -> None:
        self.subscribe_bars(self.bar_type)
        self.subscribe_trade_ticks(self.bar_type.instrument_id)

    def on_trade_tick(self, tick: TradeTick) -> None:
        for signal in self.by_entry.get(tick.ts_event // NANOS, ()):
            self.enter(signal)

    def enter(self, signal: dict[str, Any]) -> None:
        instrument, position = self.bar_type.instrument_id, PositionId(f"P-{signal['id']}")
        sums = [Quantity(SPENT / price, PLACES) for price in signal["orders"]]
        make = self.order_factory
        orders = {"entry": make.market(instrument, OrderSide.BUY, sums[0], tags=[str(signal["id"])])}
        for number, price in enumerate(signal["orders"][1:], 1):
            orders[f"grid{number}"] = make.limit(instrument, OrderSide.BUY, sums[number], Price(price, PLACES))
        stop, target = Price(signal["stop"], PLACES), Price(signal["target"], PLACES)
        orders["stop"] = make.stop_market(instrument, OrderSide.SELL, sums[0], stop, reduce_only=True)
        orders["target"] = make.limit(instrument, OrderSide.SELL, sums[0], target, reduce_only=True)
        state = {"signal": signal, "orders": orders, "position": position, "buys": [], "sells": []}
        for name, order in orders.items():
            self.live[order.client_order_id.value] = state
            if name not in ("stop", "target"):  # these only reduce a position: it must be there
                self.submit_order(order, position_id=position)

    def on_order_filled(self, event: Any) -> None:
        state = self.live[event.client_order_id.value]
        buys, sells = state["buys"], state["sells"]
        fill = (event.ts_event // NANOS, event.last_px.as_double(), event.last_qty.as_double())
        (buys if event.order_side == OrderSide.BUY else sells).append(fill)
        held = sum(each[2] for each in buys) - sum(each[2] for each in sells)
        if event.order_side == OrderSide.SELL and held < 1e-9:
            self.finish(state)
        elif event.order_side == OrderSide.BUY and len(buys) == 1:
            for name in ("stop", "target"):
                self.submit_order(state["orders"][name], position_id=state["position"])
        elif event.order_side == OrderSide.BUY:
            average = sum(each[1] * each[2] for each in buys) / sum(each[2] for each in buys)
            quantity = Quantity(held, PLACES)
            self.modify_order(state["orders"]["stop"], quantity)
            target = Price(average * (1 + state["signal"]["profit"]), PLACES)
            self.modify_order(state["orders"]["target"], quantity, target)

    def finish(self, state: dict[str, Any]) -> None:
        if state not in self.ended:
            self.ended.append(state)
        for order in state["orders"].values():
            if order.is_open:
                self.cancel_order(order)

    def on_bar(self, bar: Bar) -> None:
        now = bar.ts_event // NANOS
        for state in {id(each): each for each in self.live.values()}.values():
            if state["signal"]["end"] == now and state not in self.ended and state["buys"]:
                for order in state["orders"].values():
                    if order.is_open:
                        self.cancel_order(order)
                held = Quantity(sum(each[2] for each in state["buys"]), PLACES)
                close = self.order_factory.market(self.bar_type.instrument_id, OrderSide.SELL, held, reduce_only=True)
                self.live[close.client_order_id.value] = state
                self.submit_order(close, position_id=state["position"])


#: Of each order; bars that an engine is given of a signal: one engine for each, so that no position sees another.
SPENT, MOST_BARS = 1_000.0, 300


def run(name: str, bars: dict[str, list[float]], signals: list[dict[str, Any]], fee: float) -> list[dict[str, Any]]:
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        VENUE, OmsType.HEDGING, AccountType.MARGIN, [Money(10_000_000, USDT)], base_currency=USDT,
        default_leverage=Decimal(100), trade_execution=True,
    )  # fmt: skip
    instrument = pair(name, fee)
    engine.add_instrument(instrument)
    bar_type = BarType.from_str(f"{instrument.id}-15-MINUTE-LAST-EXTERNAL")
    size, ticks, closes = Quantity(1e6, PLACES), [], []
    for number, opened in enumerate(bars["time"]):
        prices = [Price(bars[part][number], PLACES) for part in ("open", "high", "low", "close")]
        begin, end = opened * NANOS, (opened + BAR) * NANOS - 1
        trade = TradeId(str(number))
        ticks.append(TradeTick(instrument.id, prices[0], size, AggressorSide.NO_AGGRESSOR, trade, begin, begin))
        closes.append(Bar(bar_type, *prices, size, end + 1, end))
    engine.add_data(ticks)
    engine.add_data(closes)
    strategy = Signals(bar_type, signals)
    engine.add_strategy(strategy)
    engine.run()
    rows = [row(state, fee) for state in strategy.ended]
    engine.dispose()
    return rows


def row(state: dict[str, Any], fee: float) -> dict[str, Any]:
    """Times are opens of bars: what happens when a bar has ended happened in it."""
    buys, sells = state["buys"], state["sells"]
    paid = sum(each[1] * each[2] for each in buys) * (1 + fee)
    got = sum(each[1] * each[2] for each in sells) * (1 - fee)
    return {
        "id": state["signal"]["id"], "entry": buys[0][0], "entry_price": buys[0][1], "filled": len(buys),
        "exit": bar_of(max(each[0] for each in sells)), "exit_price": sells[-1][1], "net_return": got / paid - 1,
    }  # fmt: skip


def bar_of(moment: int) -> int:
    return moment // BAR * BAR


def pair(name: str, fee: float) -> CurrencyPair:
    base = Currency(name.partition("-")[0], PLACES, 0, name, CurrencyType.CRYPTO)
    instrument = InstrumentId(Symbol(name), VENUE)
    return CurrencyPair(
        instrument, Symbol(name), base, USDT, PLACES, PLACES, Price(1e-9, PLACES), Quantity(1e-9, PLACES), 0, 0,
        maker_fee=Decimal(str(fee)), taker_fee=Decimal(str(fee)), margin_init=Decimal("0.01"),
        margin_maint=Decimal("0.01"),
    )  # fmt: skip


def main() -> None:
    question = json.load(sys.stdin)
    trades: list[dict[str, Any]] = []
    for signal in question["signals"]:
        bars = question["bars"][signal["instrument"]]
        first = bars["time"].index(signal["time"])
        part = {name: values[first : first + MOST_BARS] for name, values in bars.items()}
        trades += run(signal["instrument"], part, [signal], question["fee"])
    json.dump(sorted(trades, key=lambda each: each["id"]), sys.stdout)


if __name__ == "__main__":
    main()
