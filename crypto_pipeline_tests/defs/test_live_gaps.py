"""The gap monitor and the freshness sensor, evaluated and run for real."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.live.freshness import FILL, freshness
from crypto_pipeline.defs.live.gaps import JOB, MONITOR, live_gap_monitor
from crypto_pipeline.healing import Deployment
from crypto_pipeline.market import BarOrigin, Instrument, Timeframe
from crypto_pipeline_tests.defs.conftest import Deployed

HOUR = timedelta(hours=1)


@pytest.fixture
def house(deploy: Callable[..., Deployed], monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """Two instruments whose two days are all there, collected since the day before yesterday."""
    monkeypatch.setenv("CRYPTO_PIPELINE_DAYS", "2")
    made = deploy("BTC-USDT", "ETH-USDT")
    made.store.connections.run(
        lambda link: link.execute("UPDATE market.instruments SET added_at = now() - interval '2 days'") and None
    )
    MarketDatabase().run(lambda deployment: deployment.backfill())
    return made


def tick(house: Deployed, sensor: Any, cursor: str | None = None) -> Any:
    with dg.build_sensor_context(instance=house.instance, definitions=defs(), cursor=cursor) as context:
        return sensor(context, database=MarketDatabase())


def lose(house: Deployed, symbol: str, start: datetime, end: datetime) -> None:
    """Take minutes out of the table, as a loss that nobody wrote down; what was rolled up of them too."""

    def work(connection: Any) -> None:
        connection.execute(
            "DELETE FROM market.ohlc_data o USING market.instruments i WHERE i.instrument_id = o.instrument_id "
            "AND i.symbol = %s AND o.timeframe = '1m' AND o.open_time >= %s AND o.open_time < %s",
            [symbol, start, end],
        )
        connection.execute(
            "UPDATE market.coverage c SET final = false, data_version = nextval('market.data_version'), present = ("
            "SELECT count(*) FROM market.ohlc_data o WHERE o.instrument_id = c.instrument_id AND o.timeframe = '1m' "
            "AND (o.open_time AT TIME ZONE 'UTC')::date = c.day) WHERE c.timeframe = '1m'"
        )

    house.store.connections.run(work)


def follow(house: Deployed, request: dg.RunRequest) -> Any:
    """Run what a sensor asked for."""
    return house.run(JOB, tags=dict(request.tags), config=dict(request.run_config))


def only(result: dg.SensorResult) -> dg.RunRequest:
    assert result.run_requests is not None
    (request,) = result.run_requests
    return request


def test_a_look_without_a_gap_costs_no_run_and_is_counted(house: Deployed) -> None:
    assert isinstance(tick(house, live_gap_monitor), dg.SkipReason)
    row = house.store.metrics.summary(datetime.now(UTC) - HOUR).row(0, named=True)
    assert (row["job"], row["runs"], row["gaps_found"], row["last_status"]) == (MONITOR, 1, 0, "succeeded")


def test_the_gap_that_was_found_is_filled_and_marked(house: Deployed) -> None:
    start = Timeframe.H1.floor(datetime.now(UTC)) - 5 * HOUR
    lose(house, "ETH-USDT", start, start + timedelta(minutes=4))
    request = tick(house, live_gap_monitor)
    assert isinstance(request, dg.RunRequest)
    assert follow(house, request).success
    bars = house.store.reader.read(["ETH-USDT"], Timeframe.M1, start - HOUR, start + HOUR)
    assert bars.height == 120
    filled = bars.filter(pl.col("source") == str(BarOrigin.LIVE_GAP_FILLED))
    assert filled["open_time"].to_list() == [start + timedelta(minutes=n) for n in range(4)]
    row = house.store.metrics.summary(datetime.now(UTC) - HOUR).filter(pl.col("job") == MONITOR).row(0, named=True)
    assert (row["gaps_found"], row["gaps_filled"], row["last_status"]) == (1, 1, "succeeded")
    assert isinstance(tick(house, live_gap_monitor), dg.SkipReason)


def test_history_that_is_being_collected_is_left_to_its_run(house: Deployed) -> None:
    """Or the monitor would fetch in parallel what the first backfill of an instrument is fetching."""
    start = Timeframe.H1.floor(datetime.now(UTC)) - 5 * HOUR
    lose(house, "ETH-USDT", start, start + HOUR)
    house.store.instruments.remove("ETH-USDT")
    house.store.instruments.add([Instrument.crypto("ETH-USDT")])  # wanted since now
    job = defs().resolve_job_def("backfill_bars")
    house.instance.create_run_for_job(
        job, tags={"processor": "new_instruments"}, status=dg.DagsterRunStatus.STARTED,
        run_config={"resources": {"scope": {"config": {"instruments": ["ETH-USDT"]}}}},
    )  # fmt: skip
    assert isinstance(tick(house, live_gap_monitor), dg.SkipReason)


def test_few_bars_in_the_last_hour_trigger_a_fill(house: Deployed) -> None:
    now = datetime.now(UTC)
    assert tick(house, freshness).run_requests == []
    lose(house, "BTC-USDT", now - timedelta(minutes=58), now)
    request = only(tick(house, freshness))
    assert request.run_config["ops"]["fill_found_gaps"]["config"]["instruments"] == ["BTC-USDT"]
    assert follow(house, request).success
    assert FILL in house.store.metrics.summary(now - HOUR)["job"].to_list()
    assert tick(house, freshness).run_requests == []


def told(result: Any) -> set[tuple[str, str, bool]]:
    return {(one.asset_key.to_user_string(), one.check_name, one.passed) for one in result.asset_events}


def test_a_series_that_falls_behind_is_a_failed_check_and_an_alert_until_it_is_back(house: Deployed) -> None:
    first = tick(house, freshness)
    assert told(first) == {("venues/replay", "connection", True), ("venues/replay", "freshness", True)}
    assert not tick(house, freshness, first.cursor).asset_events
    assert house.store.checks.open_alerts().is_empty()
    now = datetime.now(UTC)
    lose(house, "BTC-USDT", now - timedelta(minutes=18), now)
    late = tick(house, freshness, first.cursor)
    assert told(late) == {("ohlc_1m", "freshness", False), ("venues/replay", "freshness", False)}
    (alert,) = house.store.checks.open_alerts().iter_rows(named=True)
    assert (alert["source"], alert["timeframe"], alert["severity"]) == ("freshness", "1m", "critical")
    assert json.loads(alert["detail"])["offenders"][0]["instrument"] == "BTC-USDT"
    assert not tick(house, freshness, late.cursor).asset_events, "told once"

    async def heal(deployment: Deployment) -> None:
        await deployment.backfill()

    MarketDatabase().run(heal)
    back = tick(house, freshness, late.cursor)
    assert told(back) == {("ohlc_1m", "freshness", True), ("venues/replay", "freshness", True)}
    assert house.store.checks.open_alerts().is_empty()
