"""Keeping true what Dagster shows of stale days. Data versions in the database decide what is computed again.

Bars also change outside the runs of their assets: live, by reconciliation, from the command line. Events tell Dagster
so. A run over many days gives all of them one data version, so days under which nothing changed would look stale
afterwards. Events tell Dagster that these are still of the stored bars. The sensors report both before they ask for
runs.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self

import dagster as dg
from dagster import AssetRecordsFilter
from dagster._core.definitions.data_version import DATA_VERSION_TAG, INPUT_EVENT_POINTER_TAG_PREFIX

from crypto_pipeline.defs.base.partitions import each_day, partitions, run_days
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import is_running, sensor
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.dagster_instance.idle_sensors import CHANGES, RUNS
from crypto_pipeline.store import Store

#: A transaction may become visible so long after the time that it bears.
_OVERLAP = timedelta(minutes=15)
#: How far back the first look goes.
_FIRST_LOOK = timedelta(days=1)
_DAY = timedelta(days=1)
_MOST_RUNS = 1000


def not_now(
    context: dg.SensorEvaluationContext, now: datetime, every: timedelta, jobs: Sequence[str]
) -> dg.SkipReason | None:
    """Why a sensor that ticks often need not look now; None where it must.

    It need not while one of ``jobs`` is under way, nor when it looked less than ``every`` ago and no run of them has
    ended since. So it looks right after history was brought up to date, and rarely otherwise.
    """
    for job in jobs:
        if is_running(context.instance, job):
            return dg.SkipReason(f"{job} is under way")
    looked = datetime.fromisoformat(context.cursor) if context.cursor else None
    if looked is None or now - looked >= every:
        return None
    for job in jobs:
        if context.instance.get_run_records(dg.RunsFilter(job_name=job, updated_after=looked), limit=1):
            return None
    return dg.SkipReason(f"looked at {looked:%H:%M:%S} UTC, and no run has changed bars since")


@dataclass(frozen=True, slots=True)
class FollowBars:
    """How a sensor looks for days whose results are not of the stored bars any more.

    ``jobs``: while one of them runs the sensor waits. ``assets`` gives the days by which each asset looks into later
    bars. ``due`` gives the first and last day of each stretch that is due, from a store and the market's time;
    ``request`` the run over one stretch, from its first and last day, this machine's time and the market's day.
    """

    every: timedelta
    jobs: Sequence[str]
    assets: Callable[[], Mapping[str, int]]
    due: Callable[[Store, datetime], list[tuple[date, date]]]
    request: Callable[[date, date, datetime, date], dg.RunRequest]
    nothing_due: str

    def sensor(self, name: str, job: str, description: str) -> dg.SensorDefinition:
        """The sensor called ``name``, which asks for runs of ``job``."""

        @sensor(name=name, job_name=job, minimum_interval_seconds=10, tags={CHANGES: RUNS}, description=description)
        def follow(context: dg.SensorEvaluationContext, database: MarketDatabase) -> dg.SensorResult | dg.SkipReason:
            return self.evaluate(context, database)

        return follow

    def evaluate(
        self, context: dg.SensorEvaluationContext, database: MarketDatabase
    ) -> dg.SensorResult | dg.SkipReason:
        """Tell Dagster which days changed and which stand, and ask for runs over the days that are due."""
        now = datetime.now(UTC)
        if skipped := not_now(context, now, self.every, self.jobs):
            return skipped
        with database.store() as store:
            market = store.clock.now()
            look = Look.begin(context, now, market)
            events: list[Any] = [*changed_bars(look, store)]
            due = self.due(store, market)
        for asset, ahead in self.assets().items():
            events += still_standing(look, asset, each_day(due), ahead)
        requests = [self.request(first, last, now, market.date()) for first, last in due]
        reason = None if requests else self.nothing_due
        return dg.SensorResult(requests, skip_reason=reason, cursor=now.isoformat(), asset_events=events)


@dataclass(frozen=True, slots=True)
class Look:
    """One look of a sensor: what happened after ``after``, up to Dagster's event number ``newest``.

    ``today``: the market's running day, UTC. ``after`` is of this machine's clock, as Dagster's own records are.
    """

    instance: dg.DagsterInstance
    after: datetime
    today: date
    newest: int

    @classmethod
    def begin(cls, context: dg.SensorEvaluationContext, now: datetime, market: datetime) -> Self:
        """The sensor's cursor is the ISO time of its last look. ``market``: the market's time."""
        after = datetime.fromisoformat(context.cursor) if context.cursor else now - _FIRST_LOOK
        newest = context.instance.event_log_storage.get_maximum_record_id() or 0
        return cls(context.instance, after, market.astimezone(UTC).date(), newest)


def changed_bars(look: Look, store: Store) -> list[dg.AssetMaterialization]:
    """Events for days before today whose bars changed after Dagster last heard of them; narrow bars first.

    None for a day that Dagster never saw materialized.
    """
    events = []
    touched = store.coverage.touched(look.after - _OVERLAP, partitions().first_day.date(), look.today - _DAY)
    for day, timeframe, at in sorted(touched, key=lambda cell: (cell[0], cell[1].minutes)):
        if timeframe is Timeframe.W1:
            continue
        key, partition = dg.AssetKey(f"ohlc_{timeframe}"), f"{day}"
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        tags, told = _last(look.instance, key, day)
        if told is None or told >= at:
            continue
        version = store.coverage.version(timeframe, start, start + _DAY)
        if tags.get(DATA_VERSION_TAG) == version:
            continue
        said = "Bars of this day changed outside of a run of this asset."
        events.append(
            dg.AssetMaterialization(key, partition=partition, description=said, tags={DATA_VERSION_TAG: version})
        )
    return events


def still_standing(look: Look, asset: str, due: Collection[date], ahead: int = 0) -> list[dg.AssetMaterialization]:
    """Events for days of ``asset`` that are not ``due`` although a run over many days gave their bars another version.

    ``ahead``: days by which the asset looks into later bars. What is due must have been asked after the look began.
    """
    instance = look.instance
    chosen = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS], updated_after=look.after)
    runs = [record.dagster_run for record in instance.get_run_records(chosen, limit=_MOST_RUNS)]
    spans = [run_days(run.tags) for run in runs if _is_of_bars(run)]
    first = min((first for first, last in filter(None, spans) if first < last), default=None)
    if first is None:
        return []
    key, begun = dg.AssetKey(asset), first - ahead * _DAY
    days = sorted(date.fromisoformat(partition) for partition in instance.get_materialized_partitions(key))
    said = "Looked at again after a run over several days of bars: computed from the bars of now."
    events = []
    for day in days:
        if begun <= day < look.today and day not in due:
            tags, _ = _last(instance, key, day)
            seen = {name: str(look.newest) for name in tags if name.startswith(INPUT_EVENT_POINTER_TAG_PREFIX)}
            events.append(dg.AssetMaterialization(key, partition=f"{day}", description=said, tags=tags | seen))
    return events


def _is_of_bars(run: dg.DagsterRun) -> bool:
    chosen = run.asset_selection or ()
    return run.job_name == "backfill_bars" or any(key.path[-1].startswith("ohlc_") for key in chosen)


def _last(instance: dg.DagsterInstance, key: dg.AssetKey, day: date) -> tuple[dict[str, str], datetime | None]:
    """Tags (versions of itself and of what it was made of) and time of the newest materialization of a day, if any."""
    chosen = AssetRecordsFilter(asset_key=key, asset_partitions=[f"{day}"])
    for record in instance.fetch_materializations(chosen, limit=1).records:
        made = record.asset_materialization
        tags = dict(made.tags or {}) if made is not None else {}
        return tags, datetime.fromtimestamp(record.timestamp, UTC)
    return {}, None
