"""The supervisor of live ingest, judged by the heartbeat row: real rows, a real instance."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest

from crypto_pipeline.defs import defs
from crypto_pipeline.defs.live import live_ingest_supervisor
from crypto_pipeline.defs.resources import Market

from .conftest import Deployed


def look(house: Deployed) -> dg.SensorResult | dg.SkipReason:
    with dg.build_sensor_context(instance=house.instance, definitions=defs) as context:
        return live_ingest_supervisor(context, database=Market())  # type: ignore[return-value]


def run_of(house: Deployed, status: dg.DagsterRunStatus) -> str:
    job = defs.resolve_job_def("live_ingest")
    return house.instance.create_run_for_job(job, tags={"shard": "0"}, status=status).run_id


def silence(house: Deployed, seconds: float) -> None:
    house.store.connections.run(
        lambda connection: (
            connection.execute(
                "UPDATE ops.heartbeats SET beat = clock_timestamp() - make_interval(secs => %s)", [seconds]
            )
            and None
        )
    )


def test_without_a_heartbeat_one_run_is_asked_for(deploy: Callable[..., Deployed]) -> None:
    house = deploy("BTC-USDT")
    result = look(house)
    assert isinstance(result, dg.SensorResult)
    assert result.run_requests is not None
    assert [request.tags["shard"] for request in result.run_requests] == ["0"]
    run_of(house, dg.DagsterRunStatus.STARTED)
    assert isinstance(look(house), dg.SkipReason), "one that is starting is given time"


def test_a_fresh_heartbeat_is_enough_whatever_the_status(deploy: Callable[..., Deployed]) -> None:
    house = deploy("BTC-USDT")
    house.store.heartbeats.beat("ingest-0", "somebody", {"state": "live"})
    assert isinstance(look(house), dg.SkipReason)


def test_a_run_that_stays_started_for_ever_is_reported_failed_and_replaced(deploy: Callable[..., Deployed]) -> None:
    house = deploy("BTC-USDT")
    dead = run_of(house, dg.DagsterRunStatus.STARTED)
    house.store.heartbeats.beat("ingest-0", dead, {"state": "live"})
    silence(house, 25)
    result = look(house)
    assert isinstance(result, dg.SensorResult)
    run = house.instance.get_run_by_id(dead)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE


def test_a_run_that_dagster_knows_to_be_over_is_replaced_at_once(deploy: Callable[..., Deployed]) -> None:
    house = deploy("BTC-USDT")
    killed = run_of(house, dg.DagsterRunStatus.FAILURE)
    house.store.heartbeats.beat("ingest-0", killed, {"state": "live"})
    assert isinstance(look(house), dg.SensorResult)


def test_one_that_rotates_gets_a_stand_by_and_goes_on(deploy: Callable[..., Deployed]) -> None:
    house = deploy("BTC-USDT")
    old = run_of(house, dg.DagsterRunStatus.STARTED)
    house.store.heartbeats.beat("ingest-0", old, {"state": "rotating"})
    assert isinstance(look(house), dg.SensorResult)
    run = house.instance.get_run_by_id(old)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.STARTED


def test_it_can_be_switched_off(deploy: Callable[..., Deployed], monkeypatch: pytest.MonkeyPatch) -> None:
    house = deploy("BTC-USDT")
    monkeypatch.setenv("CRYPTO_PIPELINE_INGEST", "false")
    assert isinstance(look(house), dg.SkipReason)
