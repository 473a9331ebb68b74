"""Sensors and schedules evaluated for real."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.test_utils import instance_for_test

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.bars import sensors
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.market import Instrument, Timeframe
from crypto_pipeline.store import JobMetrics
from crypto_pipeline_tests.defs.conftest import Deployed

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def test_a_new_instrument_is_asked_for_once(deploy: Callable[..., Deployed]) -> None:
    house = deploy("BTC-USDT", "ETH-USDT")

    def look(cursor: str | None) -> dg.SensorResult | dg.SkipReason:
        with dg.build_sensor_context(instance=house.instance, cursor=cursor) as context:
            return sensors.new_instruments(context, database=MarketDatabase())  # type: ignore[return-value]

    first = look(None)
    assert isinstance(first, dg.SensorResult)
    assert first.run_requests is not None
    assert first.run_requests[0].run_config["resources"]["scope"]["config"]["instruments"] == []
    assert isinstance(look(first.cursor), dg.SkipReason)
    house.store.instruments.add([Instrument.crypto("SOL-USDT")])
    later = look(first.cursor)
    assert isinstance(later, dg.SensorResult)
    assert later.run_requests is not None
    assert later.run_requests[0].run_config["resources"]["scope"]["config"]["instruments"] == ["SOL-USDT"]
    assert later.run_requests[0].run_key != first.run_requests[0].run_key
    house.store.instruments.remove("SOL-USDT")
    house.store.instruments.add([Instrument.crypto("SOL-USDT")])
    again = look(later.cursor)
    assert isinstance(again, dg.SensorResult), "one that was removed and added again is new"


def test_days_that_nothing_asked_for_are_asked_for(
    deploy: Callable[..., Deployed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards I3 (docs/invariants.md)."""
    house = deploy("BTC-USDT")

    def look(cursor: str | None) -> dg.SensorResult | dg.SkipReason:
        with dg.build_sensor_context(instance=house.instance, cursor=cursor) as context:
            return sensors.new_instruments(context, database=MarketDatabase())  # type: ignore[return-value]

    first = look(None)
    assert isinstance(first, dg.SensorResult)
    monkeypatch.setenv("CRYPTO_PIPELINE_DAYS", "1")
    yesterday = house.store.clock.now().date() - timedelta(days=1)
    cells = pl.DataFrame({"instrument": ["BTC-USDT"], "timeframe": ["1m"], "day": [yesterday], "expected": [1440]})
    house.store.coverage.set_expected(cells)
    lost = {"instrument": "BTC-USDT", "timeframe": "1m", "state": "lost", "evidence": "{}"}
    begin = datetime.combine(yesterday, datetime.min.time(), UTC)
    house.store.ledger.record(pl.DataFrame([lost | {"start": begin, "end": begin + timedelta(days=1)}]))
    assert isinstance(look(first.cursor), dg.SkipReason), "it was asked for, and the ledger says so"
    monkeypatch.setenv("CRYPTO_PIPELINE_DAYS", "3")
    longer = look(first.cursor)
    assert isinstance(longer, dg.SensorResult), "no run asks for a longer history by itself"
    (request,) = longer.run_requests or ()
    assert request.tags["processor"] == "new_instruments"
    assert request.run_config["resources"]["scope"]["config"]["instruments"] == []
    assert request.tags[START] <= f"{yesterday - timedelta(days=2)}"
    run = house.instance.create_run_for_job(defs().resolve_job_def("backfill_bars"), tags=request.tags)
    assert isinstance(look(longer.cursor), dg.SkipReason), "one run at a time"
    house.instance.report_run_canceled(run)
    assert isinstance(look(longer.cursor), dg.SensorResult), "the run ended before it came to them"


def test_a_removed_instrument_without_a_bar_is_forgotten_when_no_run_goes_on_that_knew_it(
    deploy: Callable[..., Deployed],
) -> None:
    house = deploy("BTC-USDT")

    def look() -> dg.RunRequest | dg.SkipReason:
        with dg.build_sensor_context(instance=house.instance) as context:
            return sensors.removed_instruments(context, database=MarketDatabase())  # type: ignore[return-value]

    assert isinstance(look(), dg.SkipReason)
    house.store.instruments.add([Instrument.crypto("FOO-BAR")])
    job = defs().resolve_job_def("backfill_bars")
    run = house.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    house.store.views.refresh("instrument_summary")
    assert summarized(house) == ["BTC-USDT", "FOO-BAR"]
    house.store.instruments.remove("FOO-BAR")
    waiting = look()
    assert isinstance(waiting, dg.SkipReason)
    assert "FOO-BAR" in str(waiting.skip_message)
    house.instance.report_run_canceled(run)
    asked = look()
    assert isinstance(asked, dg.RunRequest), "the day is looked at again"
    assert list(house.store.instruments.ids()) == ["BTC-USDT"]
    assert summarized(house) == ["BTC-USDT"]
    assert isinstance(look(), dg.SkipReason)


def summarized(house: Deployed) -> list[str]:
    """Whom the view that sums up instruments names."""
    answer = house.store.connections.frame("SELECT symbol FROM market.instrument_summary ORDER BY 1")
    return list(answer["symbol"])


@pytest.fixture
def shared() -> Iterator[dg.DagsterInstance]:
    """An instance for every tick of a test: making one takes a second."""
    with instance_for_test() as made:
        yield made


def called(schedule: Any, context: dg.ScheduleEvaluationContext) -> Any:
    """What the schedule asks for. Dagster leaves the instance that it opens for a call as the current one."""
    return copy_context().run(schedule, context, database=MarketDatabase())


@pytest.mark.parametrize(
    ("name", "at", "first", "last"),
    [
        ("recent_processor", datetime(2026, 11, 21, 0, 5, tzinfo=UTC), "2026-11-20", "2026-11-21"),
        ("recent_processor", datetime(2026, 11, 21, 9, 5, tzinfo=UTC), "2026-11-21", "2026-11-21"),
        ("historical_processor", datetime(2026, 11, 21, 6, 30, tzinfo=UTC), "2026-11-14", "2026-11-21"),
    ],
)
def test_schedules_ask_for_their_days_of_the_market_in_one_run(
    name: str, at: datetime, first: str, last: str, deploy: Callable[..., Deployed], history: Callable[[datetime], None]
) -> None:
    history(datetime(2026, 1, 5, tzinfo=UTC))
    house = deploy("BTC-USDT")
    house.store.clock.learn("replay", at)
    schedule = defs().get_repository_def().get_schedule_def(name)
    later = at + timedelta(days=1000)
    with instance_for_test() as instance, dg.build_schedule_context(instance, later) as context:
        request = called(schedule, context)
    assert (request.tags[START], request.tags[END]) == (first, last)
    assert int(request.tags["dagster/priority"]) > 0


def test_the_running_day_gets_fewer_runs_while_live_ingest_leaves_nothing_to_do(
    deploy: Callable[..., Deployed], shared: dg.DagsterInstance
) -> None:
    house = deploy("BTC-USDT")
    recent = defs().get_repository_def().get_schedule_def("recent_processor")

    def asked(minute: int, *, beats: bool = True) -> bool:
        if beats:
            house.store.heartbeats.beat("ingest-0", "somebody", {"state": "live"})
        at = datetime(2026, 11, 21, 9, minute, tzinfo=UTC)
        with dg.build_schedule_context(shared, at) as context:
            return isinstance(called(recent, context), dg.RunRequest)

    def live_pass(**found: Any) -> None:
        detail = {"problems": {}, "still_missing": 0, **found}
        house.store.metrics.record(JobMetrics("live_processor", datetime.now(UTC), 0.1, detail=detail))

    assert asked(5, beats=False), "nothing is said of ingest"
    assert asked(5), "the live processor has not worked"
    live_pass()
    assert not asked(5)
    assert not asked(10)
    assert asked(15)
    house.store.checks.record_result("accounted_for", Timeframe.M5, passed=False, severity="error", summary="planted")
    assert asked(5), "a check fails"
    house.store.checks.record_result("accounted_for", Timeframe.M5, passed=True, severity="error", summary="mended")
    assert not asked(5)
    live_pass(still_missing=1)
    assert asked(5), "a bar is missing"


def test_the_running_day_waits_for_a_first_backfill_that_has_just_begun(deploy: Callable[..., Deployed]) -> None:
    deploy("BTC-USDT")
    recent = defs().get_repository_def().get_schedule_def("recent_processor")

    with instance_for_test() as instance:

        def asked(minutes: float) -> object:
            moment = datetime.now(UTC) + timedelta(minutes=minutes)
            with dg.build_schedule_context(instance, moment) as context:
                return called(recent, context)

        def begin(names: list[str]) -> dg.DagsterRun:
            scope = {"resources": {"scope": {"config": {"instruments": names}}}}
            return instance.create_run_for_job(
                defs().resolve_job_def("backfill_bars"), run_config=scope, tags={"processor": "new_instruments"}
            )

        begin(["BTC-USDT"])
        assert isinstance(asked(1), dg.RunRequest), "it is of one instrument alone"
        run = begin([])
        waiting = asked(1)
        assert isinstance(waiting, dg.SkipReason)
        assert "this day too" in str(waiting.skip_message)
        assert isinstance(asked(6), dg.RunRequest), "history may take hours"
        instance.report_run_canceled(run)
        assert isinstance(asked(1), dg.RunRequest)


def test_definitions_load_and_everything_is_on() -> None:
    dg.Definitions.validate_loadable(defs())
    repository = defs().get_repository_def()
    assert {one.name for one in repository.schedule_defs} >= {
        "recent_processor", "historical_processor", "historical_gap_monitor", "weekly_full_sweep",
    }  # fmt: skip
    assert {one.name for one in repository.sensor_defs} >= {
        "live_ingest_supervisor", "live_gap_monitor", "freshness", "new_instruments", "follow_changes",
    }  # fmt: skip
    assert all(one.default_status is dg.DefaultScheduleStatus.RUNNING for one in repository.schedule_defs)
    assert all(one.default_status is dg.DefaultSensorStatus.RUNNING for one in repository.sensor_defs)


def test_only_a_changed_data_version_makes_the_wider_bars_follow(deploy: Callable[..., Deployed]) -> None:
    house = deploy("BTC-USDT")
    today = f"{datetime.now(UTC):%Y-%m-%d}"

    def state(asset: str, version: str) -> None:
        house.instance.report_runless_asset_event(
            dg.AssetMaterialization(asset, partition=today, tags={"dagster/data_version": version})
        )

    def asked(cursor: object) -> tuple[set[str], object]:
        result = dg.evaluate_automation_conditions(defs(), house.instance, cursor=cursor)  # type: ignore[arg-type]
        names = ("ohlc_5m", "ohlc_15m")
        return {name for name in names if result.get_requested_partitions(dg.AssetKey(name))}, result.cursor

    state("ohlc_1m", "1.7")
    state("ohlc_5m", "1.3")
    _, cursor = asked(None)
    state("ohlc_1m", "1.7")
    same, cursor = asked(cursor)
    assert "ohlc_5m" not in same
    state("ohlc_1m", "1.9")
    changed, _ = asked(cursor)
    assert "ohlc_5m" in changed


def test_everything_that_runs_says_in_one_plain_sentence_what_it_does() -> None:
    repository = defs().get_repository_def()
    ours = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    for one in [*repository.schedule_defs, *repository.sensor_defs, *ours]:
        text = one.description or ""
        assert 20 < len(text) <= 130, (one.name, text)
        assert text.endswith("."), one.name
        assert text.count(". ") == 0, (one.name, "one sentence")
        assert text[0].isupper(), one.name


def test_the_lineage_is_one_chain_with_few_edges() -> None:
    graph = defs().get_repository_def().asset_graph
    parents = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    chain = ["instruments", *(f"ohlc_{timeframe}" for timeframe in Timeframe)]
    for above, below in itertools.pairwise(chain):
        assert parents[below] - {"trades"} == {above}
    # Live bars are made of trades, and everything comes from the venue.
    assert parents["ohlc_1m"] == {"instruments", "trades"}
    assert parents["live_prices"] == {"trades"}
    assert parents["trades"] == parents["instruments"] == {"venues/replay"}
    assert parents["ml_features"] <= set(chain)
    for name in ("coverage", "ohlc_today", "ohlc_recent", "instrument_summary", "backup", "storage_report"):
        assert len(parents[name]) == 1, (name, parents[name])
