"""The asset ``ml_features`` through real runs: one run for a range, only what is stale, checks, alerts, pictures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.base.partitions import range_tags
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.features.sensors import days_due, stale_features
from crypto_pipeline.features.stored.checks import CHECKS
from crypto_pipeline.market import Timeframe
from crypto_pipeline_tests.defs.conftest import Deployed


def look(house: Deployed, cursor: str | None = None) -> dg.SensorResult:
    """One tick of the sensor."""
    with dg.build_sensor_context(instance=house.instance, cursor=cursor) as context:
        answer = stale_features(context, database=MarketDatabase())
    assert isinstance(answer, dg.SensorResult)
    return answer


def status(house: Deployed, day: date) -> StaleStatus:
    """What the UI says of the features of a day."""
    graph = defs().resolve_asset_graph()
    resolver = CachingStaleStatusResolver(house.instance, graph, LoadingContextForTest(house.instance))
    return resolver.get_status(dg.AssetKey("ml_features"), f"{day}")


def test_features_follow_their_bars(deploy: Callable[..., Deployed]) -> None:
    house = deploy("BTC-USDT", "ETH-USDT", "SOL-USDT")
    now = datetime.now(UTC)
    midnight = Timeframe.D1.floor(now)
    span = (midnight - timedelta(days=2), now)
    assert house.run("backfill_bars", tags=range_tags(*span)).success
    today = midnight.date()
    due = days_due(house.store, now)
    assert due[0] == (today - timedelta(days=2), today - timedelta(days=1))

    tick = look(house)
    assert tick.asset_events == []
    requests = tick.run_requests or []
    assert requests[0].tags["dagster/asset_partition_range_start"] == f"{today - timedelta(days=2)}"
    result = house.run("build_features", tags=requests[0].tags)
    assert result.success
    events = result.get_asset_materialization_events()
    assert {event.partition for event in events} == {f"{today - timedelta(days=n)}" for n in (1, 2)}
    for event in events:  # each day has its own figures, the last of them the picture
        metadata = event.materialization.metadata
        assert (metadata["rows_written"].value, metadata["instrument_days_computed"].value) == (3 * 96, 3)
        assert metadata["dagster/row_count"].value == 3 * 96
        assert event.partition in metadata["span"].value
    assert "data:image/png;base64" in metadata["correlation"].value
    assert "correlation" not in events[0].materialization.metadata
    evaluations = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert set(evaluations) == set(CHECKS)
    assert [name for name, one in evaluations.items() if not one.passed] == []
    assert [day for day in days_due(house.store, now) if day[0] < today] == []

    # A healed bar of one instrument: its day and what follows are stale, and nothing else.
    day = midnight - timedelta(days=1)
    bars = house.store.reader.read(["ETH-USDT"], Timeframe.M15, day, day + timedelta(hours=1))
    revised = bars.with_columns(
        bars["close"] * 1.001, bars["high"] * 1.01, revision=bars["revision"] + timedelta(hours=1)
    )
    house.store.bars.write(revised.drop("recorded_at", "vwap"), Timeframe.M15)
    yesterday = today - timedelta(days=1)
    assert (yesterday, yesterday) in days_due(house.store, now)
    # In some months retention will have taken that day away: then nobody asks for it.
    assert days_due(house.store, now + timedelta(days=150)) == []
    # Nothing of Dagster's has written that bar: it is told, and shows what is stale until the run has been.
    assert status(house, yesterday) is StaleStatus.FRESH
    for event in look(house, tick.cursor).asset_events or []:
        assert isinstance(event, dg.AssetMaterialization)
        assert (event.asset_key, event.partition) == (dg.AssetKey("ohlc_15m"), f"{yesterday}")
        house.instance.report_runless_asset_event(event)
    tick = look(house, tick.cursor)
    assert tick.asset_events == []
    assert status(house, yesterday) is StaleStatus.STALE
    assert status(house, yesterday - timedelta(days=1)) is StaleStatus.FRESH
    checked = house.run("build_features", tags=range_tags(day, midnight))
    assert status(house, yesterday) is StaleStatus.FRESH
    metadata = checked.get_asset_materialization_events()[0].materialization.metadata
    assert metadata["instrument_days_computed"].value == 3  # its own, and two whose rank is among it

    # A run over several days gives them all one version; what was computed from the bars of now is said to stand.
    wide = dg.define_asset_job("backfill_bars", dg.AssetSelection.assets("ohlc_1d").without_checks())
    alone = dg.Definitions(assets=defs().assets, jobs=[wide], resources=defs().resources).resolve_job_def(
        "backfill_bars"
    )
    assert alone.execute_in_process(instance=house.instance, tags=range_tags(day, now)).success
    assert status(house, yesterday) is StaleStatus.STALE
    for event in look(house, tick.cursor).asset_events or []:
        assert isinstance(event, dg.AssetMaterialization)
        assert event.asset_key == dg.AssetKey("ml_features")
        house.instance.report_runless_asset_event(event)
    assert status(house, yesterday) is StaleStatus.FRESH

    # A value that cannot be fails its check, which names it and opens an alert.
    house.store.connections.run(
        lambda connection: connection.execute("UPDATE research.ml_features SET rsi_14 = 120") and None
    )
    again = house.run("build_features", tags=range_tags(day, midnight))
    failed = [one for one in again.get_asset_check_evaluations() if not one.passed]
    assert [one.check_name for one in failed] == ["range"]
    assert "rsi_14" in str(failed[0].description)
    assert ("range:ml_features", "15m") in set(house.store.checks.open_alerts().select("source", "timeframe").rows())
