"""A small deployment for the examples: a generated market with labels and features, a hole, a revision, and the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import polars as pl
import pytest

from crypto_pipeline import Reader
from crypto_pipeline.features.stored.update import bring_up_to_date as update_features
from crypto_pipeline.healing.plan import Horizon, refresh_expected
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.stored.update import bring_up_to_date as update_labels
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Instrument, Timeframe, roll_up_all
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.views.views import VIEWS
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.label_market import START, TIERS, minutes
from crypto_pipeline_tests.builders.trading_market import FREQUENT

DAYS = 16
NOW = START + timedelta(days=DAYS)
#: Minutes of ETH-USDT that are absent because the venue was down, and the bar of BTC-USDT that the venue restated.
OUTAGE = (NOW - timedelta(hours=5), NOW - timedelta(hours=5) + timedelta(minutes=7))
RESTATED = NOW - timedelta(hours=3)


@dataclass(frozen=True)
class SmallDeployment:
    """Where examples find what they read."""

    database_url: str
    api_url: str

    @property
    def environment(self) -> dict[str, str]:
        """Settings by which a program finds it."""
        return {
            "CRYPTO_PIPELINE_DATABASE_URL": self.database_url,
            "CRYPTO_PIPELINE_LABEL_PARAMETERS": json.dumps(FREQUENT),
        }


@pytest.fixture(scope="package")
def deployment(new_database: NewDatabase) -> Iterator[SmallDeployment]:
    with new_database("read_by_examples") as url, Store(url) as store:
        _fill(store)
        with Reader(url, patience=5.0) as reader, Served(reader, load_settings()) as served:
            yield SmallDeployment(url, served.url)


def _fill(store: Store) -> None:
    store.instruments.add([Instrument.crypto(symbol, tier) for symbol, tier in TIERS.items()])
    bars = pl.concat([minutes(symbol, DAYS, number) for number, symbol in enumerate(sorted(TIERS))])
    bars = bars.filter(~((pl.col("instrument") == "ETH-USDT") & pl.col("open_time").is_between(*OUTAGE, closed="left")))
    store.bars.write(bars, Timeframe.M1)
    for timeframe, rolled in roll_up_all(bars).items():
        store.bars.write(rolled, timeframe)
    store.clock.learn("replay", NOW)
    collected = Horizon(START, NOW, timedelta(0))
    refresh_expected(store, store.instruments.frame("replay"), collected, list(Timeframe))
    _explain(store)
    sets = parameter_sets(FREQUENT)
    for strategy in Strategy:
        update_labels(store, strategy, sets["default"][strategy], START, NOW, now=NOW)
    update_labels(store, Strategy.CHANNEL, sets["loose"][Strategy.CHANNEL], START, NOW, now=NOW)
    update_features(store, START, NOW, now=NOW)
    _restate(store)
    for view in VIEWS:
        store.views.refresh(view)


def _explain(store: Store) -> None:
    evidence = json.dumps({"others_silent": 3})
    row = {"instrument": "ETH-USDT", "timeframe": "1m", "start": OUTAGE[0], "end": OUTAGE[1], "state": "venue_outage"}
    store.ledger.record(pl.DataFrame([{**row, "evidence": evidence}]))


def _restate(store: Store) -> None:
    """One bar of 1m that the venue stated again, with another close, after all others were written."""
    whole = store.reader.read(["BTC-USDT"], Timeframe.M1, RESTATED, RESTATED + timedelta(minutes=1), columns=None)
    again = whole.drop("recorded_at", "vwap").with_columns(
        (pl.col("close") + 0.25).alias("close"),
        pl.max_horizontal("high", pl.col("close") + 0.25).alias("high"),
        (pl.col("revision") + timedelta(hours=1)).alias("revision"),
    )
    store.bars.write(again, Timeframe.M1)
