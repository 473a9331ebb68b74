"""A small stored market that is scanned: four instruments, nine days, wide parameters."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from crypto_pipeline.labels.strategies.base import WARM_UP
from crypto_pipeline.market import Instrument, Timeframe, roll_up_all
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.feature_market import minutes
from crypto_pipeline_tests.builders.label_market import START, TIERS, write

DAYS = 9
QUARTER = timedelta(minutes=15)
SETTINGS = Settings(
    label_parameters={
        "default": {
            "dca": {"fall": 0.002, "volume_ratio": 0.5, "rsi_max": 60, "spacing": 6},
            "swing": {"breakout": -0.01, "volume_ratio": 0.8, "rsi_min": 30, "rsi_max": 90},
            "channel": {
                "touches": 1, "containment": 0.8, "position_max": 0.4, "reward_to_risk": 0.3, "width_min": 0.002,
            },
        }
    }
)  # fmt: skip
BEGIN = START + WARM_UP * QUARTER
END = START + timedelta(days=DAYS)
#: Scans of one bar.
ROWS = len(TIERS) * 3


def store_scanned_market(store: Store) -> None:
    """Bars up to END, which the market's clock says it is; nothing is scanned yet."""
    store.instruments.add([Instrument.crypto(symbol, tier) for symbol, tier in TIERS.items()])
    bars = minutes(tuple(TIERS), DAYS, seed=3, start=START)
    write(store, bars)
    store.bars.write(roll_up_all(bars, (Timeframe.H4,))[Timeframe.H4], Timeframe.H4)
    expect(store, list(TIERS))
    store.clock.learn("replay", END)


def expect(store: Store, names: list[str]) -> None:
    """All bars of these instruments are expected."""
    days = pl.date_range(START, END, closed="left", eager=True)
    store.coverage.set_expected_alike(names, pl.DataFrame({"day": days, "timeframe": "15m", "expected": 96}))
