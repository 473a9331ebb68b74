"""A recording that keeps its own dates: everything behaves on its last day as it would today."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
from dagster._core.definitions.partitions.context import partition_loading_context
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.defs.base.partitions import end_offset
from crypto_pipeline.market import Instrument, Timeframe
from crypto_pipeline.replay import running_exchange
from crypto_pipeline.store import Store

#: A Thursday morning; some days of minutes come before it.
NOW = datetime(2021, 5, 13, 9, 7, 20, tzinfo=UTC)
DAYS = 3

#: As a code server and its runs do it: what the venue said comes first, then the definitions are loaded.
_WORK = """
import asyncio, json, sys
from crypto_pipeline.healing import Pipeline
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store, resolve_url

async def told(store):
    async with Pipeline.open(store, load_settings()) as pipeline:
        await pipeline.horizon()

with Store(resolve_url(load_settings())) as store:
    asyncio.run(told(store))

import dagster as dg
from dagster._core.test_utils import instance_for_test
from datetime import UTC, datetime
from crypto_pipeline.definitions import defs
from crypto_pipeline.defs.base import partitions
from crypto_pipeline.defs.bars import sensors
from crypto_pipeline.market import Timeframe
from crypto_pipeline.defs.features.sensors import stale_features
from crypto_pipeline.defs.base.resources import MarketDatabase

laid_down = partitions.partitions()
found = {"days": laid_down.daily.get_partition_keys(), "research": laid_down.research.get_partition_keys(),
         "weeks": laid_down.weekly.get_partition_keys(), "runs": {}}
with instance_for_test() as instance:
    def run(job, tags=None):
        done = defs().resolve_job_def(job).execute_in_process(instance=instance, tags=tags, raise_on_error=False)
        checks = {f"{one.asset_key.to_user_string()} {one.check_name}": one.passed
                  for one in done.get_asset_check_evaluations()}
        found["runs"][job] = {"success": done.success, "failed": sorted(k for k, v in checks.items() if not v)}
    with dg.build_sensor_context(instance=instance) as context:
        asked = sensors.new_instruments(context, database=MarketDatabase()).run_requests[0]
    run("backfill_bars", dict(asked.tags))
    first, last = partitions.run_days(asked.tags)
    end = datetime(last.year, last.month, last.day, 1, tzinfo=UTC)
    run("weekly_bars", partitions.range_tags(laid_down.first_day, end, Timeframe.W1))
    run("refresh_today")
    with dg.build_schedule_context(instance, datetime.now(UTC)) as context:
        recent = defs().get_repository_def().get_schedule_def("recent_processor")(context, database=MarketDatabase())
    found["recent"] = dict(recent.tags)
    with dg.build_sensor_context(instance=instance) as context:
        looked = stale_features(context, database=MarketDatabase())
    found["features"] = [dict(one.tags) for one in looked.run_requests]
json.dump(found, sys.stdout)
"""


def _recording(folder: Path) -> Path:
    folder.mkdir()
    start = Timeframe.D1.floor(NOW) - timedelta(days=DAYS + 7)
    times = pl.datetime_range(start, NOW + timedelta(days=1), "1m", closed="left", eager=True).dt.epoch("ms")
    price = pl.Series([100 + (number * 7 % 13) / 10 for number in range(len(times))])
    frame = pl.DataFrame({"ts_ms": times, "open": price, "high": price + 1, "low": price - 1, "close": price + 0.5})
    frame.with_columns(volume=pl.lit(2.5)).write_parquet(folder / "BTC_USDT-1m-2021-05.parquet")
    return folder


def test_a_code_server_finds_its_days_and_fills_them_on_the_recordings_last_day(
    tmp_path: Path, postgres_url: str
) -> None:
    with running_exchange(_recording(tmp_path / "recorded"), now=NOW, weight_limit=0) as exchange:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")}
        environment |= {
            "CRYPTO_PIPELINE_DATABASE_URL": postgres_url, "CRYPTO_PIPELINE_DATA_DIR": str(tmp_path / "data"),
            "CRYPTO_PIPELINE_REPLAY_SOURCE": str(tmp_path / "recorded"), "CRYPTO_PIPELINE_DAYS": str(DAYS),
            "CRYPTO_PIPELINE_REPLAY_PORT": str(exchange.port),
        }  # fmt: skip
        with Store(postgres_url) as store:
            store.instruments.add([Instrument.crypto("BTC-USDT")])
            done = subprocess.run(
                [sys.executable, "-c", _WORK], env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            found = json.loads(done.stdout.splitlines()[-1])
            assert (found["days"][0], found["days"][-1]) in {("2021-05-10", "2021-05-13"), ("2021-05-10", "2021-05-14")}
            assert found["research"][0] == "2021-05-10"
            assert found["weeks"][0] == "2021-05-10"
            assert found["weeks"][-1] in ("2021-05-10", "2021-05-17")
            assert found["runs"] == {
                job: {"success": True, "failed": []} for job in ("backfill_bars", "weekly_bars", "refresh_today")
            }
            first, last = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
            assert (found["recent"][first], found["recent"][last]) == ("2021-05-13", "2021-05-13")
            assert {(one[first], one[last]) for one in found["features"]} == {
                ("2021-05-10", "2021-05-12"), ("2021-05-13", "2021-05-13"),
            }  # fmt: skip
            totals = store.coverage.summary()
            missing = totals["expected"] - totals["present"] - totals["explained"]
            assert int(missing.sum()) <= 1, "at most the minute that ended meanwhile"
            assert totals.filter(timeframe="1m")["present"].sum() >= DAYS * 1440
            views = {name: rows for name, rows, *_ in store.views.state().iter_rows()}
            assert views["ohlc_today"] > 1440
            assert views["instrument_summary"] == 1


@given(
    st.datetimes(  # bounds have no zone here
        datetime(2020, 1, 1),  # noqa: DTZ001
        datetime(2040, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    ),
    st.timedeltas(timedelta(days=-900), timedelta(days=40)),
    st.timedeltas(timedelta(0), timedelta(days=60)),
)
def test_the_running_day_and_week_are_the_last_partition_or_the_last_but_one(
    loaded: datetime, ahead: timedelta, later: timedelta
) -> None:
    start = Timeframe.W1.floor(loaded + ahead - timedelta(days=9))
    for width, kind, more in (
        (Timeframe.D1, dg.DailyPartitionsDefinition, {}),
        (Timeframe.W1, dg.WeeklyPartitionsDefinition, {"day_offset": 1}),
    ):
        one = kind(start_date=start, end_offset=end_offset(ahead, width.delta), timezone="UTC", **more)
        with partition_loading_context(loaded + later):
            last = one.get_last_partition_window()
        assert last is not None
        running = width.floor(loaded + later + ahead)
        slack = timedelta(minutes=5)
        whole = abs(ahead - round(ahead / width.delta) * width.delta) <= slack
        if whole and width.floor(loaded + later + ahead - slack) != width.floor(loaded + later + ahead + slack):
            continue  # clocks that differ by seconds change days seconds apart
        assert last.start - running in ((timedelta(0),) if whole else (timedelta(0), width.delta))
