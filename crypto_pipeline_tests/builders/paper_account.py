"""A paper account with a few made-up decisions, booked through the ledger as a pass books them."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from crypto_pipeline.store import Store
from crypto_pipeline.store.trading.ledger import LedgerRows
from crypto_pipeline.store.trading.ledger_columns import LEDGER_TABLES, REOPENED_SCHEMA, RISK_CHANGE_SCHEMA
from crypto_pipeline.trading.ledger.booking import opening
from crypto_pipeline.trading.stored.production import PAPER
from crypto_pipeline_tests.builders.bars import START

#: What every made-up row says; a table takes the columns that it has.
_KNOWN: dict[str, Any] = {
    "strategy": "swing", "instrument": "BTC-USDT", "tier": "large", "revision": 0, "entry_ts": START,
    "decision_price": 100.0, "planned_stop": 95.0, "planned_target": 110.0, "planned_loss": 0.05, "orders": 1,
    "model_factor": 1.0, "parameters_hash": "made_up", "params_hash": "made_up", "measures": "{}", "entry_price": 100.0,
    "average_price": 100.0, "exit_price": 110.0, "stop_loss_price": 95.0, "take_profit_price": 110.0, "mark": 105.0,
    "outcome": "TP", "ambiguous": "no", "orders_filled": 1, "booked": 1, "number": 0, "net_return": 0.1,
    "taken": True, "limit_name": None,
}  # fmt: skip
_PASS = timedelta(minutes=15)


class PaperAccount:
    """The account that the deployment shows; each ``book`` is one pass over its next 15 minutes."""

    def __init__(self, store: Store) -> None:
        self._ledger, self.moment = store.trading.ledger, START
        self._ledger.declare("made_up", {})
        capital = Decimal(10_000)
        self._ledger.begin(PAPER, "USDT", capital, "made_up", START, opening(capital, "USDT"))

    def book(self, **given: list[dict[str, Any]]) -> None:
        """Store rows of ``signals``, ``positions`` and ``trade_logs``: the positions are all that are open now."""
        frames = {
            name: pl.DataFrame([_row(name, row) for row in given.get(name, [])], schema=schema)
            for name, schema in LEDGER_TABLES.items()
        }
        more = {
            "reopened": pl.DataFrame(schema=REOPENED_SCHEMA),
            "risk_changes": pl.DataFrame(schema=RISK_CHANGE_SCHEMA),
        }
        until = self.moment + _PASS
        assert self._ledger.advance(PAPER, self.moment, until, "made_up", LedgerRows(**frames, **more), 0)
        self.moment = until

    def decided(self, signal_ts: datetime, **values: Any) -> dict[str, Any]:
        """A row that one of the tables takes, about the signal of that bar, decided and ended in the next pass."""
        at = self.moment + _PASS
        return {"signal_ts": signal_ts, "moment": at, "exit_ts": at, **values}


def _row(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """The columns of a table; sums that are not given are 100."""
    sums = {name: Decimal(100) for name, dtype in LEDGER_TABLES[table].items() if isinstance(dtype, pl.Decimal)}
    known = {**sums, **_KNOWN, **row}
    return {name: known.get(name) for name in LEDGER_TABLES[table]}
