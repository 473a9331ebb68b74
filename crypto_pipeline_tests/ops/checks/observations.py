"""An observation of a deployment in which all is well, and the faults that can be planted in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from crypto_pipeline.ops.checks.observation import DiskRoom, Observation
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store.coordination.replica_facts import ReplicaFacts
from crypto_pipeline.store.operations.figures.dagster_facts import DagsterFacts, Instigator, LastRun
from crypto_pipeline.store.operations.figures.health_facts import (
    BarSilence,
    ChannelFact,
    CoverageShare,
    HealthFacts,
    JobRuns,
    OldestGap,
)
from crypto_pipeline.store.operations.figures.model_facts import ModelInUse
from crypto_pipeline.store.operations.figures.order_facts import BrokerFact

NOW = datetime(2026, 3, 29, 0, 59, tzinfo=UTC)  # a minute before Europe's clocks go forward
PROGRAMS = ("postgres", "replay", "ingest-0", "code-server", "webserver", "daemon", "api", "notifier")
Plant = Callable[[Observation], Observation]


def well() -> Observation:
    """All is well."""
    programs = {name: {"state": "RUNNING", "pid": 1, "uptime": 900.0, "trouble": None} for name in PROGRAMS}
    supervisor: dict[str, Any] = {"phase": "healthy", "programs": programs, "others": {}}
    names = [f"C{number:02}-USDT" for number in range(20)]
    facts = HealthFacts(
        now=NOW,
        market_now=NOW,
        host_ahead=0.01,
        clock_venue="binance",
        clock_ahead=-0.2,
        clock_rate=1.0,
        read_only=None,
        heartbeats={
            "supervisor:one": (2.0, supervisor),
            "ingest-0": (0.6, {"venue": "binance", "instruments": 20}),
            "notifier": (4.0, {}),
            "run-worker:one": (0.5, {"runs": 4}),
            "run-worker:two": (1.2, {"runs": 4}),
            "forecasts": (31.0, {"fits": 60}),
        },
        silences=tuple(BarSilence(name, "binance", 12.0) for name in names),
        coverage=tuple(
            CoverageShare(days, "binance", name, 1440 * days, 1440 * days) for days in (1, 7) for name in names
        ),
        features=dict.fromkeys(names, 400.0),
        scans={"dca": 410.0, "swing": 410.0, "channel": 410.0},
        jobs=(JobRuns("backfill", 200, 2, 0), JobRuns("live_gap_fill", 280, 0, 0)),
    )
    dagster = DagsterFacts(
        daemon={"SCHEDULER": 12.0, "SENSOR": 3.0},
        # of real time: schedules follow the machine's clock
        instigators=(Instigator("every_minute", "SCHEDULE", True, "* * * * *", 90_000.0, "SUCCESS", 20.0, 20.0),),
        last_runs={"make_backup": LastRun("make_backup", "SUCCESS", "r1", 3_600.0)},
    )
    return Observation(
        load_settings(database_read_url="postgresql://r/market", celery_broker_url="redis://r/0"),
        facts, None, 0.002, dagster, None,
        DiskRoom(100 * 10**9, 60 * 10**9, 5 * 10**9, True), 3_600.0, True, ReplicaFacts("r:5432/market", 0.0),
    )  # fmt: skip


def with_facts(**changes: Any) -> Plant:
    """Plants changes of the facts of the market database."""
    return lambda seen: replace(seen, facts=replace(seen.known, **changes))


def with_dagster(**changes: Any) -> Plant:
    """Plants changes of the facts of Dagster's database."""

    def plant(seen: Observation) -> Observation:
        assert seen.dagster is not None
        return replace(seen, dagster=replace(seen.dagster, **changes))

    return plant


def with_beat(name: str, age: float) -> Plant:
    """Plants a heartbeat of this age."""
    return lambda seen: replace(
        seen,
        facts=replace(seen.known, heartbeats=seen.known.heartbeats | {name: (age, seen.known.heartbeats[name][1])}),
    )


def with_program(name: str, trouble: str, state: str = "STOPPED") -> Plant:
    """Plants a program with a trouble, as the supervisor sees it."""

    def plant(seen: Observation) -> Observation:
        age, detail = seen.known.heartbeats["supervisor:one"]
        programs = detail["programs"] | {name: {"state": state, "pid": None, "uptime": None, "trouble": trouble}}
        beat = (age, detail | {"programs": programs})
        return replace(seen, facts=replace(seen.known, heartbeats=seen.known.heartbeats | {"supervisor:one": beat}))

    return plant


def one_silent(seen: Observation) -> Observation:
    """One instrument of twenty has had no bar for six minutes."""
    first, *others = seen.known.silences
    return replace(seen, facts=replace(seen.known, silences=(replace(first, seconds=360.0), *others)))


def lower_coverage(days: int, share: float) -> Plant:
    """Plants a share of bars over the last days."""

    def plant(seen: Observation) -> Observation:
        rows = tuple(
            replace(one, accounted=int(one.expected * share)) if one.days == days else one
            for one in seen.known.coverage
        )
        return replace(seen, facts=replace(seen.known, coverage=rows))

    return plant


def _model(predictions: int = 3, late: int = 0, refused: int = 0, refused_all: int = 0) -> ModelInUse:
    """A model in use, forty days old."""
    return ModelInUse("dca", "ab" * 8, 40 * 86400.0, predictions, late, refused, refused_all, "null: lr_1")


_OLD = NOW - timedelta(hours=25)
#: Every fault by what it is, with the check that must turn bad.
FAULTS: dict[str, tuple[str, Plant]] = {
    "ingest dead": ("ingest", with_beat("ingest-0", 45.0)),
    "ingest never started": (
        "ingest",
        lambda seen: with_facts(
            heartbeats={name: beat for name, beat in seen.known.heartbeats.items() if name != "ingest-0"},
            silences=tuple(replace(one, seconds=900.0) for one in seen.known.silences),
        )(seen),
    ),
    "daemon dead": ("dagster_daemon", with_program("daemon", "stopped: Not started")),
    "daemon hangs": ("dagster_daemon", with_dagster(daemon={"SCHEDULER": 300.0, "SENSOR": 290.0})),
    "code server dead": ("code_server", with_program("code-server", "stopped: Not started")),
    "database down": ("database", lambda seen: replace(seen, facts=None, database_trouble="cannot reach PostgreSQL")),
    "database slow": ("database_speed", lambda seen: replace(seen, database_seconds=0.8)),
    "database read-only": ("database_writable", with_facts(read_only="cannot execute INSERT")),
    "replica away": ("replica", lambda seen: replace(seen, replica=ReplicaFacts("r:5432/market", trouble="refused"))),
    "replica lags": ("replica", lambda seen: replace(seen, replica=ReplicaFacts("r:5432/market", 61.0))),
    "disk 95 %": ("disk_room", lambda seen: replace(seen, disk=DiskRoom(1000 * 10**9, 49 * 10**9, 5 * 10**9, True))),
    "venue banned": ("venue_bans", with_facts(bans={"binance": 300.0})),
    "one instrument silent": ("instruments_silent", one_silent),
    "clock off": ("clock", with_facts(host_ahead=-4.0)),
    "the venue's clock off": ("clock", with_facts(clock_ahead=3.0)),
    "gap older than 24 h": (
        "oldest_gap", with_facts(oldest_gap=OldestGap("C01-USDT", "1m", _OLD, "lost", 25 * 3600.0, 1)),
    ),
    "coverage 98 %": ("coverage_24h", lower_coverage(1, 0.98)),
    "coverage of the week 97 %": ("coverage_7d", lower_coverage(7, 0.97)),
    "features stale": ("features_age", with_facts(features={"C01-USDT": 2400.0, "C02-USDT": 400.0})),
    "backup failed": (
        "backup", with_dagster(last_runs={"make_backup": LastRun("make_backup", "FAILURE", "r2", 60.0)}),
    ),
    "backup old": ("backup", lambda seen: replace(seen, newest_backup=60 * 3600.0)),
    "schedule not run": (
        "schedules_run",
        with_dagster(instigators=(Instigator("s", "SCHEDULE", True, "* * * * *", 9e4, "SUCCESS", 900.0, 900.0),)),
    ),
    "schedule turned off": (
        "schedules_run",
        with_dagster(instigators=(Instigator("s", "SCHEDULE", False, "* * * * *", 9e4, "SUCCESS", 20.0, 20.0),)),
    ),
    "queue stuck": ("run_queue", with_dagster(queued=3, oldest_queued=900.0, started=0, holding={"backfill": 2})),
    "three failures in a row": ("processors", with_facts(jobs=(JobRuns("backfill", 200, 3, 3),))),
    "many failures": ("job_errors", with_facts(jobs=(JobRuns("backfill", 200, 20, 1),))),
    "supervisor dead": ("supervisor", with_beat("supervisor:one", 90.0)),
    "webhook dead": (
        "notifications_delivered", with_facts(channels=(ChannelFact("slack_webhook", 40.0, "HTTP 404 no_service", 2),)),
    ),
    "forecast loop dead": ("forecast_loop", with_beat("forecasts", 400.0)),
    "a model refuses every row": ("models_answer", with_facts(models=(_model(refused=3, refused_all=3),))),
    "a model refuses many rows": ("models_answer", with_facts(models=(_model(predictions=30, refused=4),))),
    "predictions come late": ("predictions_in_time", with_facts(models=(_model(predictions=30, late=4),))),
    "a strategy scans nothing": ("scans_current", with_facts(scans={"dca": 410.0, "swing": 2400.0, "channel": 410.0})),
    "scanning never begins": ("scans_current", with_facts(scans={})),
    "an order is unknown": ("orders_known", with_facts(brokers=(BrokerFact("ccxt_binance", 1, unknown=90.0),))),
    "a position without a stop": ("orders_known", with_facts(brokers=(BrokerFact("b", 1, bare=("BTC-USDT",)),))),
    "the venue holds less": ("venue_positions", with_facts(brokers=(BrokerFact("b", 1, differences=("BTC: …",)),))),
    "never compared": ("venue_positions", with_facts(brokers=(BrokerFact("b", 1, differences=None, compared=None),))),
    "a run-worker dead": ("run_workers", with_beat("run-worker:two", 31.0)),
    "notifier dead": ("notifier", with_beat("notifier", 90.0)),
}  # fmt: skip
