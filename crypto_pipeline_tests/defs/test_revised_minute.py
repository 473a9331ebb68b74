"""One revised minute in sixty days: Dagster shows which days rest on it, asks for those, and computes no others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import psycopg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from polars.testing import assert_frame_equal

from crypto_pipeline.definitions import built
from crypto_pipeline.defs.base import partitions as layout
from crypto_pipeline.features.compute import LOOK_BACK, MARKET_LOOK_BACK, ROW_SCHEMA
from crypto_pipeline.features.stored.update import features_as_of
from crypto_pipeline.labels.stored import inputs
from crypto_pipeline.labels.stored.update import bring_up_to_date
from crypto_pipeline.labels.strategies.base import Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.feature_market import rolled_up, stock
from crypto_pipeline_tests.builders.label_market import minutes
from crypto_pipeline_tests.features.stored.test_update import FORGOTTEN, differences
from crypto_pipeline_tests.labels.comparison import OWN, SETS

DAYS = 60
NAMES = ("BTC-USDT", "ADA-USDT")
ASKS = {"stale_features": "build_features", "labels_due": "label_setups"}
#: Its hash is computed beside the default one.
LABELLED: dict[Strategy, Parameters] = SETS["wide"]
TABLES = ["ml_features", *(f"strategy_{strategy}_labels" for strategy in Strategy)]
DAY = timedelta(days=1)
SHOWN = ("1m", "15m", "1h", "4h", "1d")
TODAY = Timeframe.D1.floor(datetime.now(UTC))
START = TODAY - timedelta(days=DAYS)
Cells = set[tuple[str, date]]


@pytest.fixture
def definitions(monkeypatch: pytest.MonkeyPatch, postgres_url: str) -> Iterator[dg.Definitions]:
    """Definitions whose partitions reach sixty days back, built anew."""
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    monkeypatch.setenv("CRYPTO_PIPELINE_DAYS", str(DAYS))
    monkeypatch.setenv("CRYPTO_PIPELINE_LABEL_PARAMETERS", json.dumps({"wide": OWN["wide"]}))
    layout.partitions.cache_clear()
    built.cache_clear()
    yield built()
    monkeypatch.undo()
    layout.partitions.cache_clear()
    built.cache_clear()


class House:
    """A store of sixty days, and an instance of Dagster that knows its bars."""

    def __init__(self, store: Store, instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
        self.store, self.instance, self.defs = store, instance, definitions

    def show_bars(self, first: datetime, end: datetime) -> None:
        """State the data versions of the bars as the bar assets do."""
        for name in SHOWN:
            for number in range((end - first).days):
                day = first + timedelta(days=number)
                version = self.store.coverage.version(Timeframe(name), day, day + DAY)
                self.instance.report_runless_asset_event(
                    dg.AssetMaterialization(
                        f"ohlc_{name}", partition=f"{day:%Y-%m-%d}", tags={"dagster/data_version": version}
                    )
                )

    def asked(self, sensor: str) -> list[dg.RunRequest]:
        resources = {"database": self.defs.resources["database"]}
        with dg.build_sensor_context(instance=self.instance, definitions=self.defs, resources=resources) as context:
            return list(self.defs.get_repository_def().get_sensor_def(sensor).evaluate_tick(context).run_requests or [])

    def serve(self, sensor: str, job: str) -> list[Any]:
        """Run what a sensor asks for, without the checks."""
        assets = [name for name in TABLES if (name == "ml_features") == (job == "build_features")]
        runs = [
            self.defs.resolve_job_def(job).execute_in_process(
                instance=self.instance, tags=request.tags, op_selection=assets
            )
            for request in self.asked(sensor)
        ]
        assert all(run.success for run in runs)
        return runs

    def shown(self, asset: str, days: list[date]) -> dict[date, bool]:
        """Whether Dagster shows these partitions as unsynced."""
        graph = self.defs.resolve_asset_graph()
        resolver = CachingStaleStatusResolver(self.instance, graph, LoadingContextForTest(self.instance))
        status = {day: resolver.get_status(dg.AssetKey(asset), f"{day}") for day in days}
        assert set(status.values()) <= {StaleStatus.STALE, StaleStatus.FRESH}
        return {day: value is StaleStatus.STALE for day, value in status.items()}

    def computed(self) -> dict[str, dict[tuple[str, date, str], datetime]]:
        """When what was computed, by table and cell (and parameters, of labels)."""
        statements = {
            "ml_features": "SELECT symbol, day, '', computed_at FROM research.feature_cells JOIN market.instruments "
            "USING (instrument_id)",
            **{
                f"strategy_{strategy}_labels": "SELECT symbol, day, params_hash, computed_at FROM research.label_cells "
                f"JOIN market.instruments USING (instrument_id) WHERE strategy = '{strategy}'"
                for strategy in Strategy
            },
        }
        with psycopg.connect(self.store.url) as connection:
            return {
                name: {(row[0], row[1], row[2]): row[3] for row in connection.execute(statement.encode())}
                for name, statement in statements.items()
            }

    def rows(self) -> dict[str, pl.DataFrame]:
        """What is stored, without what says when it was."""
        found = {"ml_features": self.store.features.read(NAMES, START, TODAY).select(*ROW_SCHEMA)}
        for strategy, parameters in LABELLED.items():
            rows = self.store.labels.read(strategy.definition.table, parameters.hash, START, TODAY)
            found[f"strategy_{strategy}_labels"] = rows.drop("recorded_at", "data_version")
        return found


def dependents(hit: datetime) -> dict[str, Cells]:
    """Cells that rest on a minute of ADA, by the look-backs that are declared."""

    def days(first: int, last: int) -> list[date]:
        return [hit.date() + timedelta(days=number) for number in range(first, last + 1)]

    own = {("ADA-USDT", day) for day in days(0, LOOK_BACK[Timeframe.H4])}
    ranks = {(name, day) for name in NAMES for day in days(0, MARKET_LOOK_BACK)}
    found = {"ml_features": own | ranks}
    for strategy, parameters in LABELLED.items():
        reach = days(-inputs.look_ahead(parameters), inputs.look_back(parameters))
        found[f"strategy_{strategy}_labels"] = {("ADA-USDT", day) for day in reach}
    return found


def test_one_revised_minute_of_sixty_days(definitions: dg.Definitions, postgres_url: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance, Store(postgres_url) as store:
        house = House(store, instance, definitions)
        market = pl.concat([minutes(name, DAYS, number, START) for number, name in enumerate(NAMES)])
        stock(store, market)
        house.show_bars(START, TODAY)
        for sensor, job in ASKS.items():
            assert len(house.serve(sensor, job)) == 1
            assert house.asked(sensor) == []
        computed, before = house.computed(), house.rows()
        assert all(frame.height > 40 for frame in before.values())

        hit = START + timedelta(days=10, hours=5, minutes=14)
        revised = market.filter((pl.col("instrument") == "ADA-USDT") & (pl.col("open_time") == hit)).with_columns(
            pl.col("close") * 0.94, pl.col("low") * 0.93, pl.col("volume") * 3, revision=pl.col("revision") + DAY
        )
        store.bars.write(revised, Timeframe.M1)
        midnight = Timeframe.D1.floor(hit)
        rolled_up(store, market.filter(pl.col("open_time").dt.date() == hit.date()))
        house.show_bars(midnight, midnight + DAY)

        expected = dependents(hit)
        edges = {name: (min(days := {day for _, day in cells}), max(days)) for name, cells in expected.items()}
        for name, (first, last) in edges.items():
            seen = [first - DAY, first, last, last + DAY]
            assert house.shown(name, seen) == dict(zip(seen, (False, True, True, False), strict=True)), name
        (request,) = house.asked("stale_features")
        assert asked_days(request) == edges["ml_features"]
        (request,) = house.asked("labels_due")
        labelled = [edges[f"strategy_{strategy}_labels"] for strategy in Strategy]
        assert asked_days(request) == (min(first for first, _ in labelled), max(last for _, last in labelled))

        for sensor, job in ASKS.items():
            assert len(house.serve(sensor, job)) == 1
            assert house.asked(sensor) == []
        after, now = house.computed(), house.rows()
        for name, cells in expected.items():
            again = {cell[:2] for cell, moment in after[name].items() if moment != computed[name][cell]}
            assert again == cells, name
            assert house.shown(name, list(edges[name])) == dict.fromkeys(edges[name], False)
            key = "open_time" if name == "ml_features" else "signal_ts"
            outside = pl.DataFrame(sorted(cells), schema={"instrument": pl.String, "day": pl.Date}, orient="row")
            rest = [
                rows.with_columns(day=pl.col(key).dt.date()).join(outside, on=["instrument", "day"], how="anti")
                for rows in (before[name], now[name])
            ]
            assert_frame_equal(*rest, check_exact=True)
            assert not now[name].equals(before[name]), name

        scratch = features_as_of(store, NAMES, START, TODAY)
        assert differences(now["ml_features"], scratch) < FORGOTTEN
        with psycopg.connect(store.url) as connection:
            for strategy in Strategy:
                connection.execute(f"TRUNCATE research.strategy_{strategy}_labels, research.label_cells".encode())
        for strategy, parameters in LABELLED.items():
            bring_up_to_date(store, strategy, parameters, START, TODAY)
            name = f"strategy_{strategy}_labels"
            assert_frame_equal(house.rows()[name], now[name], rel_tol=1e-9)


def asked_days(request: dg.RunRequest) -> tuple[date, date]:
    tags = (request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
    first, last = map(date.fromisoformat, tags)
    return first, last
