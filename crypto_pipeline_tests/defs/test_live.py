"""The supervisor of live ingest, judged by the heartbeat row: real rows, a real instance."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteRepositoryOrigin

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.live import live_ingest as live
from crypto_pipeline.defs.live.heartbeats import EVERY, observations
from crypto_pipeline.defs.live.live_ingest import live_ingest_supervisor
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.ops.host.processes import MARK
from crypto_pipeline_tests.defs.conftest import Deployed


def look(house: Deployed, cursor: str | None = None) -> dg.SensorResult:
    """One evaluation of the sensor; a plain reason to skip comes as a result without requests."""
    with dg.build_sensor_context(instance=house.instance, definitions=defs(), cursor=cursor) as context:
        answer = live_ingest_supervisor(context, database=MarketDatabase())
    return answer if isinstance(answer, dg.SensorResult) else dg.SensorResult(skip_reason=answer)  # type: ignore[arg-type]


def asked_for(house: Deployed) -> list[str]:
    """Shards for which a run is asked."""
    return [request.tags["shard"] for request in look(house).run_requests or []]


def run_of(house: Deployed, status: dg.DagsterRunStatus) -> str:
    job = defs().resolve_job_def("live_ingest")
    server = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="crypto_pipeline")
    origin = RemoteRepositoryOrigin(server, "__repository__").get_job_origin("live_ingest")
    run = house.instance.create_run_for_job(job, tags={"shard": "0"}, status=status, remote_job_origin=origin)
    return run.run_id


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
    assert asked_for(house) == ["0"]
    run_of(house, dg.DagsterRunStatus.STARTED)
    assert asked_for(house) == [], "one that is starting is given time"


def test_a_venue_without_an_instrument_asks_for_no_run(
    deploy: Callable[..., Deployed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "universe.toml"
    group = '[[group]]\ntier = "large"\nsymbols = ["BTC"]\n'
    file.write_text(f'{group}{group}venue = "kraken"\n')
    house = deploy("BTC-USDT")
    monkeypatch.setenv("CRYPTO_PIPELINE_UNIVERSE_FILE", str(file))
    assert asked_for(house) == ["0"]
    house.store.instruments.add([Instrument.crypto("BTC-USDT@kraken")])
    assert asked_for(house) == ["0", "kraken-0"]


def test_a_fresh_heartbeat_is_enough_whatever_the_status(deploy: Callable[..., Deployed]) -> None:
    house = deploy("BTC-USDT")
    house.store.heartbeats.beat("ingest-0", "somebody", {"state": "live"})
    assert asked_for(house) == []


def test_a_run_that_stays_started_for_ever_is_reported_failed_and_replaced(deploy: Callable[..., Deployed]) -> None:
    house = deploy("BTC-USDT")
    dead = run_of(house, dg.DagsterRunStatus.STARTED)
    house.store.heartbeats.beat("ingest-0", dead, {"state": "live"})
    silence(house, 25)
    assert asked_for(house) == ["0"]
    run = house.instance.get_run_by_id(dead)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE


def test_a_run_that_dagster_knows_to_be_over_is_replaced_at_once(deploy: Callable[..., Deployed]) -> None:
    house = deploy("BTC-USDT")
    killed = run_of(house, dg.DagsterRunStatus.FAILURE)
    house.store.heartbeats.beat("ingest-0", killed, {"state": "live"})
    assert asked_for(house) == ["0"]


def test_one_that_rotates_gets_a_stand_by_and_goes_on(deploy: Callable[..., Deployed]) -> None:
    house = deploy("BTC-USDT")
    old = run_of(house, dg.DagsterRunStatus.STARTED)
    house.store.heartbeats.beat("ingest-0", old, {"state": "rotating"})
    assert asked_for(house) == ["0"]
    run = house.instance.get_run_by_id(old)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.STARTED


@pytest.mark.parametrize("why", ["rotating", "its run is over", "silent"])
def test_none_is_asked_for_while_one_stands_by_or_waits_in_the_queue_however_long(
    deploy: Callable[..., Deployed], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    house = deploy("BTC-USDT")
    ended = dg.DagsterRunStatus.FAILURE if why == "its run is over" else dg.DagsterRunStatus.STARTED
    old = run_of(house, ended)
    house.store.leases.acquire("ingest-0", old, 60)
    house.store.heartbeats.beat("ingest-0", old, {"state": "rotating" if why == "rotating" else "live"})
    if why == "silent":
        silence(house, 25)
    monkeypatch.setattr(live, "STARTING", 0.0)  # whatever was asked for, was so long ago
    assert house.store.leases.stand_by("ingest-0", "somebody", 60)
    assert asked_for(house) == []
    assert house.store.leases.stand_by("ingest-0", "somebody", -1)  # it went away
    queued = run_of(house, dg.DagsterRunStatus.QUEUED)
    assert asked_for(house) == []
    house.instance.delete_run(queued)
    assert asked_for(house) == ["0"]


def test_under_up_it_asks_for_nothing(deploy: Callable[..., Deployed], monkeypatch: pytest.MonkeyPatch) -> None:
    house = deploy("BTC-USDT")
    monkeypatch.setenv(MARK, "somewhere")
    found = look(house)
    assert not found.run_requests
    assert found.skip_reason is not None
    assert "no heartbeat yet" in str(found.skip_reason.skip_message)


def test_a_heartbeat_is_an_observation_of_what_ingest_writes_once_an_hour_and_when_its_state_changes(
    deploy: Callable[..., Deployed], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = deploy("BTC-USDT")
    monkeypatch.setenv(MARK, "somewhere")
    assert not look(house).asset_events, "no heartbeat, no observation"
    house.store.heartbeats.beat("ingest-0", "somebody", {"state": "recovering", "venue": "replay", "stored": 12})
    first = look(house)
    assert [event.asset_key.to_user_string() for event in first.asset_events] == ["trades", "live_prices"]
    shown = first.asset_events[0].metadata
    assert (shown["state"].value, shown["venue"].value, shown["trades_stored"].value) == ("recovering", "replay", 12)
    again = look(house, first.cursor)
    assert not again.asset_events
    house.store.heartbeats.beat("ingest-0", "somebody", {"state": "live", "venue": "replay"})
    changed = look(house, again.cursor)
    assert len(changed.asset_events) == 2
    beat = house.store.heartbeats.get("ingest-0")
    assert beat is not None
    for later, count in ((EVERY - timedelta(seconds=1), 0), (EVERY + timedelta(seconds=5), 2)):
        events, _ = observations({"0": beat}, changed.cursor, datetime.now(UTC) + later)
        assert len(events) == count
    for event in changed.asset_events:
        house.instance.report_runless_asset_event(event)
    assert house.instance.fetch_observations(dg.AssetKey("trades"), limit=1).records


def test_it_can_be_switched_off(deploy: Callable[..., Deployed], monkeypatch: pytest.MonkeyPatch) -> None:
    house = deploy("BTC-USDT")
    monkeypatch.setenv("CRYPTO_PIPELINE_INGEST", "false")
    assert asked_for(house) == []


def test_a_failed_run_is_no_alert_any_more_once_ingest_is_live(deploy: Callable[..., Deployed]) -> None:
    house = deploy("BTC-USDT")
    checks = house.store.checks
    checks.raise_alert("run:live_ingest", "error", "run 1 failed: marked by somebody")
    house.store.heartbeats.beat("ingest-0", "someone", {"state": "recovering"})
    look(house)
    assert checks.open_alerts().height == 1
    house.store.heartbeats.beat("ingest-0", "someone", {"state": "live"})
    look(house)
    assert checks.open_alerts().is_empty()
