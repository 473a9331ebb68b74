"""Sources: a venue with its checks, price updates and historical sync is one YAML entry. All of it runs for real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from crypto_pipeline import definitions
from crypto_pipeline.defs.base.partitions import range_tags
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.replay.massive.generated import GeneratedStocks
from crypto_pipeline.replay.massive.server import MassiveServer, Plan
from crypto_pipeline.replay.massive.tape import Stock
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.massive_beside import massive_beside
from crypto_pipeline_tests.builders.massive_server import KEY
from crypto_pipeline_tests.builders.project import COLLECTED, project
from crypto_pipeline_tests.defs import listed_definitions
from crypto_pipeline_tests.defs.conftest import Deployed

VENUE = dg.AssetKey(["venues", "massive"])
#: A Friday in the session.
NOW = datetime(2024, 7, 5, 17, 30, 40, tzinfo=UTC)


class Massive:
    """A deployment that collects two stocks, and makes no live bars of the venue's stream."""

    def __init__(self, server: MassiveServer, store: Store, instance: dg.DagsterInstance) -> None:
        self.server, self.store, self.instance = server, store, instance
        self.defs = definitions.built.__wrapped__()

    def tick(self, schedule: str, instance: dg.DagsterInstance) -> Any:
        context = dg.build_schedule_context(instance, NOW)
        return self.defs.get_repository_def().get_schedule_def(schedule).evaluate_tick(context)

    def run(self, job: str) -> dg.ExecuteInProcessResult:
        return self.defs.resolve_job_def(job).execute_in_process(instance=self.instance, raise_on_error=False)


@pytest.fixture
def massive(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Massive]:
    tape = GeneratedStocks([Stock(name, NOW.date() - timedelta(days=15)) for name in ("AAPL", "JPM")])
    with (
        massive_beside(tape, NOW) as (server, url),
        Store(postgres_url) as store,
        dg.DagsterInstance.ephemeral() as own,
    ):
        for name, value in {
            "DATABASE_URL": postgres_url, "VENUE": "massive", "MASSIVE_URL": url, "MASSIVE_KEY": KEY,
            "MASSIVE_FEED": "realtime", "MASSIVE_REQUESTS_PER_MINUTE": "60000", "DAYS": "1",
            "HEAL_BACKOFF": "0.001", "REQUEST_ATTEMPTS": "1", "REQUEST_TIMEOUT": "30", "INGEST": "false",
        }.items():  # fmt: skip
            monkeypatch.setenv(f"CRYPTO_PIPELINE_{name}", value)
        store.instruments.add([Instrument.stock("AAPL"), Instrument.stock("JPM")])
        yield Massive(server, store, own)


def test_a_venue_is_upstream_of_the_bars_with_all_that_people_look_for(massive: Massive) -> None:
    specs = {spec.key: spec for spec in massive.defs.resolve_all_asset_specs()}
    venue = specs[VENUE]
    assert [dep.asset_key for dep in specs[dg.AssetKey("instruments")].deps] == [VENUE]
    assert venue.owners
    assert venue.kinds == {"api"}
    assert venue.tags["subject"] == "venues"
    assert venue.metadata["documentation"].url == "https://massive.com/docs/rest/stocks"
    assert "no stream, so prices every 15 minutes" in (venue.description or "")
    names = listed_definitions.names(massive.defs)
    assert {"venues/massive:connection", "venues/massive:freshness"} <= set(names["checks"])
    assert names["schedules"]["price_update_massive"] == "price_update_massive"
    repository = massive.defs.get_repository_def()
    crons = {one.name: one.cron_schedule for one in repository.schedule_defs if one.name.endswith("_massive")}
    assert crons == {
        "price_update_massive": "*/15 * * * *",
        "historical_sync_massive": "10 */3 * * *",
    }


def test_a_venue_with_a_stream_has_no_price_updates() -> None:
    names = listed_definitions.names(definitions.defs())
    assert "historical_sync_replay" in names["schedules"]
    assert "price_update_replay" not in names["schedules"]


def output(done: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Metadata of the run's output."""
    for event in done.all_events:
        if event.is_successful_output:
            return {name: value.value for name, value in event.step_output_data.metadata.items()}
    return {}


def test_the_schedules_ask_for_a_run_unless_one_is_under_way(massive: Massive, tmp_path: Path) -> None:
    job = massive.defs.resolve_job_def("price_update_massive")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        [request] = massive.tick("price_update_massive", instance).run_requests
        assert request.run_key == f"price_update_massive:{NOW:%Y-%m-%dT%H:%M}"
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        assert "under way" in massive.tick("price_update_massive", instance).skip_message
        [request] = massive.tick("historical_sync_massive", instance).run_requests
        assert request.run_key == f"historical_sync_massive:{NOW:%Y-%m-%dT%H:%M}"


def test_runs_update_prices_and_sync_history_and_tell_the_figures_of_both_stages(massive: Massive) -> None:
    # The venue lists nothing here yet: the first run of any kind asks for that.
    assert massive.run("refresh_instruments").success
    done = massive.run("price_update_massive")
    assert done.success
    stored = output(done)["report"]["timeframes"]["1m"]["inserted"]
    assert stored > 100
    assert massive.store.live.prices(["AAPL", "JPM"]).height == 2
    done = massive.run("historical_sync_massive")
    assert done.success
    shown = output(done)
    assert shown["moved_into_history"]["timeframes"]["1m"]["inserted"] == stored
    assert shown["healed"]["timeframes"]["1m"]["inserted"] > 2 * 240
    assert shown["behind"] == {"AAPL": None, "JPM": None}
    recorded = massive.store.metrics.recent(datetime.now(UTC) - timedelta(hours=1))
    assert {"price_update_massive", "historical_sync_massive"} <= set(recorded["job"])


def test_a_sync_fails_where_the_venue_refuses_after_its_first_stage(massive: Massive) -> None:
    massive.run("refresh_instruments")
    massive.run("price_update_massive")
    massive.server.plans[KEY] = Plan(expired=True)
    done = massive.run("historical_sync_massive")
    assert not done.success
    assert massive.store.price_updates.waiting("massive", 10).is_empty()
    assert massive.store.reader.span(["AAPL"], Timeframe.M1).height == 1


def test_the_checks_name_a_venue_that_refuses_and_series_that_stopped(massive: Massive) -> None:
    massive.run("refresh_instruments")
    massive.run("historical_sync_massive")

    def checked() -> dict[str, dg.AssetCheckEvaluation]:
        return {one.check_name: one for one in massive.run("check_massive").get_asset_check_evaluations()}

    found = checked()
    assert found["connection"].passed
    assert found["connection"].description == "massive answers"
    massive.server.plans[KEY] = Plan(expired=True)
    found = checked()
    assert not found["connection"].passed
    assert "massive does not answer" in (found["connection"].description or "")
    assert "connection:massive" in set(massive.store.checks.open_alerts()["source"])
    massive.server.plans[KEY] = Plan()
    assert checked()["connection"].passed
    assert "connection:massive" not in set(massive.store.checks.open_alerts()["source"])


_SOURCE = """
type: crypto_pipeline.defs.sources.source.Source
attributes:
  venue: replay_standby
  description: A second replay exchange.
  documentation: https://example.org/standby
  owners: [team:other]
  kinds: [python]
  tags: {region: here}
  sync_cron: "0 * * * *"
  bars:
    name: standby
    instruments: [BTC-USDT@replay_standby]
    widest: 5m
"""


@pytest.fixture
def added(tmp_path: Path) -> dg.Definitions:
    """Definitions of a project to which one file was added: the entry of another venue."""
    return project(tmp_path, {"main": COLLECTED, "standby": _SOURCE})


@pytest.fixture
def standby(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplayExchange]:
    with running_exchange("generated", weight_limit=0, seed=2, instruments="BTCUSDT") as exchange:
        monkeypatch.setenv("CRYPTO_PIPELINE_REPLAY_STANDBY_PORT", str(exchange.port))
        yield exchange


def test_adding_a_source_is_one_file(
    deploy: Callable[..., Deployed], standby: ReplayExchange, monkeypatch: pytest.MonkeyPatch,
    added: dg.Definitions,
) -> None:  # fmt: skip
    monkeypatch.setenv("CRYPTO_PIPELINE_DAYS", "1")
    house = deploy("BTC-USDT")
    house.store.instruments.add([Instrument.crypto("BTC-USDT@replay_standby")])
    names = listed_definitions.names(added)
    assert set(names["assets"]) == {
        "venues/replay", "venues/replay_standby", "standby_instruments", "standby_ohlc_1m", "standby_ohlc_5m",
    }  # fmt: skip
    assert {"check_replay_standby", "historical_sync_replay_standby", "check_replay"} <= set(names["jobs"])
    specs = {spec.key.to_user_string(): spec for spec in added.resolve_all_asset_specs()}
    venue = specs["venues/replay_standby"]
    assert (venue.owners, venue.kinds, venue.tags["region"]) == (["team:other"], {"api", "python"}, "here")
    assert venue.metadata["documentation"].url == "https://example.org/standby"
    assert [dep.asset_key.to_user_string() for dep in specs["standby_instruments"].deps] == ["venues/replay_standby"]
    now = datetime.now(UTC)
    done = added.resolve_job_def("standby_backfill_bars").execute_in_process(
        instance=house.instance, tags=range_tags(now - timedelta(hours=1), now)
    )
    assert done.success
    stored = house.store.reader.read(["BTC-USDT@replay_standby"], Timeframe.M1, now - timedelta(hours=1), now)
    tape = standby.market.bars("BTCUSDT", Timeframe.M1, now - timedelta(hours=1), now)
    assert stored["close"].to_list() == tape.head(stored.height)["close"].to_list()
    assert stored.height > 50
    checked = added.resolve_job_def("check_replay_standby").execute_in_process(instance=house.instance)
    assert {one.check_name: one.passed for one in checked.get_asset_check_evaluations()}["connection"]


def test_dg_lists_the_components(tmp_path: Path) -> None:
    listed = listed_definitions.dg_tool(tmp_path, "list components")
    found = [line.split("│")[1].strip() for line in listed.splitlines() if "crypto_pipeline.defs." in line]
    names = ("bars.source.BarSource", "sources.source.CollectedSources", "sources.source.Source")
    assert found == [f"crypto_pipeline.defs.{name}" for name in names]
