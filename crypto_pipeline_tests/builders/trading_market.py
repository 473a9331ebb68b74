"""A stored market in which every strategy finds setups within days, for tests of trading: 15m, 1h and 4h bars alone."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.market import Instrument, Timeframe, roll_up_all
from crypto_pipeline.store import Store
from crypto_pipeline.store.trading.ledger import LedgerRows
from crypto_pipeline.store.trading.ledger_columns import KEY, SIGNAL_INPUTS
from crypto_pipeline.trading.ledger.booking import opening
from crypto_pipeline.trading.stored.replay import TradingReplay
from crypto_pipeline_tests.builders.label_market import START, TIERS, minutes
from crypto_pipeline_tests.labels.comparison import OWN

__all__ = ["START", "TIERS"]

DAYS = 12
#: Trading begins when all are warm.
FROM, TO = START + timedelta(days=5), START + timedelta(days=DAYS)
#: Setting ``label_parameters`` whose setups are frequent.
FREQUENT: dict[str, Any] = {"default": OWN["wide"]}
#: The same, with trades that end within hours.
QUICK: dict[str, Any] = {"default": OWN["narrow"]}
_WIDTHS = (Timeframe.M15, Timeframe.H1, Timeframe.H4)


def stored_trading_market(store: Store, days: int = DAYS, seed: int = 0, *, absent: float = 0.003) -> None:
    """Generated bars of TIERS in the store, without their minutes; ``absent``: share of 15m bars that are not there."""
    store.instruments.add([Instrument.crypto(symbol, tier) for symbol, tier in TIERS.items()])
    until = START + timedelta(days=days)
    for timeframe, rolled in _rolled(max(days, DAYS), seed).items():
        kept = rolled.filter(pl.col("open_time") < until)
        if timeframe is Timeframe.M15:
            kept = kept.filter(pl.Series(np.random.default_rng(seed + 3).random(kept.height) >= absent))
        store.bars.write(kept, timeframe)


@cache
def _rolled(days: int, seed: int) -> dict[Timeframe, pl.DataFrame]:
    """Bars by width; made once for all tests of a process."""
    bars = pl.concat([minutes(symbol, days, seed + number) for number, symbol in enumerate(sorted(TIERS))])
    return {width: rolled for width, rolled in roll_up_all(bars).items() if width in _WIDTHS}


def book(store: Store, replay: TradingReplay, account: str = "paper") -> None:
    """The replay as an account of the store, as a pass over its bars books it."""
    made, ledger, given = replay.simulation, store.trading.ledger, replay.parameters
    began, until = replay.book.start, replay.book.end
    ledger.declare(given.hash, given.model_dump(mode="json"))
    ledger.begin(account, given.currency, given.capital, given.hash, began, opening(given.capital, given.currency))
    measures = pl.lit("{}").alias("measures")
    inputs = replay.signals.select(*KEY, *(name for name in SIGNAL_INPUTS if name != "measures"), measures)
    signals = made.decisions.join(inputs, on=list(KEY), how="left", maintain_order="left")
    changes = pl.DataFrame(schema=dict.fromkeys(("moment", "state", "because", "resumes_at", "equity", "drawdown")))
    rows = LedgerRows(
        signals,
        made.orders,
        made.fills,
        made.postings,
        made.trades,
        made.equity,
        made.positions,
        made.reopened,
        changes,
    )
    assert ledger.advance(account, began, until, given.hash, rows, 0)
