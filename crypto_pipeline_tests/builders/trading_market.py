"""A stored market in which every strategy finds setups within days, for tests of trading: 15m, 1h and 4h bars alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.market import Instrument, Timeframe, roll_up_all
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.label_market import START, TIERS, minutes
from crypto_pipeline_tests.labels.comparison import OWN

__all__ = ["START", "TIERS"]

DAYS = 12
#: Trading begins when all are warm.
FROM, TO = START + timedelta(days=5), START + timedelta(days=DAYS)
#: Setting ``label_parameters`` whose setups are frequent.
FREQUENT: dict[str, Any] = {"default": OWN["wide"]}
_WIDTHS = (Timeframe.M15, Timeframe.H1, Timeframe.H4)


def stored_trading_market(store: Store, days: int = DAYS, seed: int = 0) -> None:
    """Generated bars of TIERS in the store, without their minutes; some 15m bars are absent."""
    store.instruments.add([Instrument.crypto(symbol, tier) for symbol, tier in TIERS.items()])
    bars = pl.concat([minutes(symbol, days, seed + number) for number, symbol in enumerate(sorted(TIERS))])
    for timeframe, rolled in roll_up_all(bars).items():
        if timeframe is Timeframe.M15:
            rolled = rolled.filter(pl.Series(np.random.default_rng(seed + 3).random(rolled.height) > 0.003))
        if timeframe in _WIDTHS:
            store.bars.write(rolled, timeframe)
