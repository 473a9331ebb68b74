"""An order desk on the replay exchange, and a record of how long the exchange saw a position without a stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.replay.orders.account import TradingAccount
from crypto_pipeline.replay.server.accounts.desk import DEFAULT_KEY, DEFAULT_SECRET
from crypto_pipeline.store import Store
from crypto_pipeline.store.trading.orders_outbox import Handover
from crypto_pipeline.trading.brokers.ccxt_exchange import CcxtBroker
from crypto_pipeline.trading.stored.order_desk import OrderDesk

BROKER = "ccxt_binance"


def account(exchange: ReplayExchange) -> TradingAccount:
    return exchange.accounts.accounts[DEFAULT_KEY]


@contextmanager
def desk(store: Store, exchange: ReplayExchange, *, pause: float = 0.05, **options: Any) -> Iterator[OrderDesk]:
    times = {"timeout": 10.0, "window_ms": 10_000} | options
    broker = CcxtBroker("binance", DEFAULT_KEY, DEFAULT_SECRET, url=exchange.url, **times)
    try:
        yield OrderDesk(store.trading.outbox, broker, exchange.clock.now, pause=pause)
    finally:
        broker.close()


def last(exchange: ReplayExchange, instrument: str = "BTC-USDT") -> Decimal:
    return exchange.accounts.last_price(instrument.replace("-", ""), exchange.clock.now_ms())


def position(
    exchange: ReplayExchange,
    number: int = 0,
    *,
    instrument: str = "BTC-USDT",
    stop: str = "0.97",
    target: str | None = "1.03",
    factor: str | None = None,
    exit_after: float = 86_400.0,
    worth: int = 500,
    grid: int = 0,
    broker: str = BROKER,
) -> Handover:
    """A position of ``worth`` at the market and ``grid`` more orders of as much, each 1 % lower; stop and target
    relative to the last price."""
    price, now = last(exchange, instrument), exchange.clock.now()
    entries: list[dict[str, Any]] = [{"kind": "market", "quantity": str(worth / price), "price": None}]
    for step in range(1, grid + 1):
        limit = price * (100 - step) / 100
        entries.append({"kind": "limit", "quantity": str(worth / limit), "price": str(limit)})
    return Handover(
        broker,
        instrument,
        "swing",
        signal_of(number),
        now + timedelta(hours=1),
        now + timedelta(seconds=exit_after),
        entries,
        price * Decimal(stop),
        None if target is None or factor is not None else price * Decimal(target),
        None if factor is None else Decimal(factor),
    )


def signal_of(number: int) -> datetime:
    from datetime import UTC

    return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=15 * number)


def differences(store: Store, exchange: ReplayExchange) -> list[str]:
    """Where the stored fills and the exchange's own are not the same, or an order is there twice."""
    holder, outbox = account(exchange), store.trading.outbox
    numbers = [one.handover_id for one in outbox.handovers(BROKER, closed=True)]
    stored = {(fill.instrument.replace("-", ""), int(fill.fill_id)): fill for fill in outbox.fills(numbers)}
    there = {(fill.symbol, fill.trade_id): fill for fill in holder.executions}
    found = [f"fill {key} is on one side only" for key in stored.keys() ^ there.keys()]
    for key in stored.keys() & there.keys():
        mine, theirs = stored[key], there[key]
        if (mine.price, mine.quantity, mine.fee) != (theirs.price, theirs.quantity, theirs.commission):
            found.append(f"fill {key} differs")
    ids = [order.client_id for order in holder.orders.values()]
    found += [f"order {one} is there {ids.count(one)} times" for one in set(ids) if ids.count(one) > 1]
    start = {"USDT": Decimal(1_000_000)}
    for asset, amount in outbox.changes(BROKER).items():
        balance = holder.wallet.of(asset)
        if balance.free + balance.locked != start.get(asset, Decimal(0)) + amount:
            found.append(f"{asset}: {balance} at the venue, {amount} here")
    return found
