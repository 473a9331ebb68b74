"""From decisions to hand-overs: what the account took just now is given to the broker, each signal once.

A signal is handed over while its entry bar is open; one that is found later is not, because its price has gone. Sizes
are those that were decided: the capital of the account in the settings is that of the broker's account.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.labels.strategies.base import TIMEFRAME, Entries
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.store import Store
from crypto_pipeline.store.trading.orders_outbox import Handover
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.stored.production import PAPER

BAR = timedelta(milliseconds=TIMEFRAME.milliseconds)


def hand_over(store: Store, broker: str, now: datetime) -> int:
    """Give the broker what was taken at the newest moment; return how many signals are new to it. Raises StoreError."""
    taken = store.trading.ledger.read("signals", PAPER, now - BAR).filter("taken")
    return sum(
        store.trading.outbox.put(handover_of(store, broker, row)) is not None for row in taken.iter_rows(named=True)
    )


def handover_of(store: Store, broker: str, row: dict[str, Any]) -> Handover:
    """What a taken signal (a row of ``trading.signals``) is carried out by. Quantities are not rounded yet."""
    strategy = Strategy(row["strategy"])
    trading = TradingParameters.model_validate(store.trading.ledger.parameters(row["parameters_hash"])).of(strategy)
    declared = store.trading.ledger.parameters(row["params_hash"])
    own = trading.strategy_parameters(strategy, strategy.definition.parameters.model_validate(declared))
    price, exits = np.array([row["decision_price"]]), own.exits.of(row["tier"])
    setups = pl.DataFrame([json.loads(row["measures"])])
    entries = Entries(setups, price, np.array([exits.take_profit]), np.array([exits.stop_loss]))
    plan = strategy.definition.barriers(entries, own)
    prices = [Decimal(str(one)) for one in plan.orders[0].tolist()]
    orders = [
        {
            "kind": "limit" if number else "market",
            "quantity": str(row["order_sum"] / one),
            "price": str(one) if number else None,
        }
        for number, one in enumerate(prices)
    ]
    target, factor = Decimal(str(row["planned_target"])), None
    if np.isnan(plan.take_profit[0]):  # it stands on the average of what is bought
        factor = target * sum(1 / one for one in prices) / len(prices)
    moment = row["moment"]
    return Handover(
        broker,
        row["instrument"],
        row["strategy"],
        row["signal_ts"],
        moment + BAR,
        moment + own.horizon * BAR,
        orders,
        Decimal(str(row["planned_stop"])),
        None if factor is not None else target,
        factor,
    )
