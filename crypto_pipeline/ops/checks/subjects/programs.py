"""Checks of the programs: each runs and works, judged by its heartbeat or by the supervisor's look at it."""

from __future__ import annotations

from typing import Any

from crypto_pipeline.ops.checks.definition import CheckDefinition
from crypto_pipeline.ops.checks.observation import FORGOTTEN, SILENT, Observation
from crypto_pipeline.ops.checks.states import CheckFinding, bad, ok, unknown
from crypto_pipeline.ops.dagster_instance.workers.configuration import WORKER_ROW
from crypto_pipeline.ops.supervision.programs import API, CODE_SERVER, DAEMON, FORECASTS, INGEST, WEBSERVER

#: Seconds without a heartbeat: of ingest (its lease is lost before), and of Dagster's daemon, which writes every 30 s.
_INGEST_SILENT, _DAEMON_SILENT = 20.0, 90.0
#: Seconds without a heartbeat of the loop that publishes forecasts, which writes one every 60 s.
_FORECASTS_SILENT = 240.0
#: An instrument without bars for so long shows that an ingest that never wrote a heartbeat does not start, seconds.
_NEVER_STARTED = 600.0
#: A program that starts may take this long to answer, seconds.
_STARTING = 60.0
#: Seconds after the start of Dagster's daemon for which run-workers may be started too.
_WORKERS_STARTING = 300.0


def _supervisor(seen: Observation) -> CheckFinding:
    supervisors = seen.supervisors
    if not supervisors:
        return unknown("no `crypto-pipeline up` works on this database: it supervises no program")
    age, detail = max(supervisors.values(), key=lambda beat: beat[0])
    if age > SILENT:
        return bad(f"`crypto-pipeline up` has said nothing for {age:.0f} s", age)
    return ok(f"`up` supervises {len(detail.get('programs', {}))} programs", age)


def _program(seen: Observation, name: str, title: str) -> CheckFinding:
    """The supervisor's look at one program."""
    found = seen.program(name)
    if found is None:
        return unknown(f"no supervisor says anything about {title}")
    trouble = found.get("trouble")
    if trouble is None:
        return ok(f"{title} runs and answers")
    if found.get("state") in ("RUNNING", "STARTING") and (found.get("uptime") or 0.0) < _STARTING:
        return unknown(f"{title} is starting: {trouble}")
    return bad(f"{title} does not work: {trouble}")


def _code_server(seen: Observation) -> CheckFinding:
    return _program(seen, CODE_SERVER, "Dagster's code server")


def _webserver(seen: Observation) -> CheckFinding:
    return _program(seen, WEBSERVER, "the Dagster UI")


def _http_api(seen: Observation) -> CheckFinding:
    return _program(seen, API, "the HTTP API")


def _daemon(seen: Observation) -> CheckFinding:
    """By the supervisor's look where there is one, and by the daemon's own heartbeats."""
    looked = _program(seen, DAEMON, "Dagster's daemon")
    if looked.status == "bad" or seen.dagster is None:
        return looked
    if not seen.dagster.daemon:
        return unknown("Dagster's daemon has not written a heartbeat yet")
    youngest = min(seen.dagster.daemon.values())
    if youngest > _DAEMON_SILENT:
        return bad(f"Dagster's daemon has written no heartbeat for {youngest:.0f} s", youngest)
    return ok(f"Dagster's daemon wrote a heartbeat {youngest:.0f} s ago", youngest)


def _ingest(seen: Observation) -> CheckFinding:
    """Every shard of ingest by its heartbeat row."""
    beats = {name: beat for name, beat in seen.known.heartbeats.items() if name.startswith(INGEST)}
    offenders: list[dict[str, Any]] = []
    for name in sorted(beats):
        age, detail = beats[name]
        looked = seen.program(name)
        if looked is not None and looked.get("state") == "STOPPED" and detail.get("instruments") == 0:
            continue  # no instrument of its venue is collected
        if age > _INGEST_SILENT:
            offenders.append({"shard": name, "seconds": round(age), "venue": detail.get("venue")})
    if offenders:
        worst = max(offenders, key=lambda one: one["seconds"])
        names = ", ".join(str(one["shard"]) for one in offenders)
        return bad(f"no heartbeat of {names} for {worst['seconds']} s", worst["seconds"], offenders=tuple(offenders))
    if not beats:
        silent = max((one.seconds for one in seen.known.silences), default=0.0)
        if silent > _NEVER_STARTED:
            return bad(f"live ingest has never started, and an instrument has had no bar for {silent:.0f} s", silent)
        return unknown("live ingest has not started yet")
    return ok(f"{len(beats)} ingest programs work", max(age for age, _ in beats.values()))


def _run_workers(seen: Observation) -> CheckFinding:
    """Every worker that runs are handed to, by its heartbeat row; one that was stopped has none."""
    beats = {
        name.removeprefix(WORKER_ROW): age
        for name, (age, _) in seen.known.heartbeats.items()
        if name.startswith(WORKER_ROW) and age < FORGOTTEN
    }
    dead = sorted((name for name, age in beats.items() if age > SILENT), key=lambda name: -beats[name])
    if not beats:
        begun = seen.program(DAEMON)
        if begun is None or (begun.get("uptime") or 0.0) < _WORKERS_STARTING:
            return unknown("no run-worker works yet")
        return bad("no run-worker works: no run begins", severity="critical")
    if dead:
        living, age = len(beats) - len(dead), beats[dead[0]]
        left = f"{living} others work" if living else "no other one works: no run begins"
        return bad(
            f"the run-worker {', '.join(dead)} was killed or is cut off, {age:.0f} s ago; {left}",
            age,
            None if living else "critical",
            [{"worker": name, "seconds": round(beats[name])} for name in dead],
        )
    return ok(f"{len(beats)} run-workers work", max(beats.values()))


def _forecast_loop(seen: Observation) -> CheckFinding:
    """The loop of forecasts by its heartbeat row."""
    beat = seen.known.heartbeats.get(FORECASTS)
    if beat is None:
        return unknown("the loop that publishes forecasts has not started yet")
    age, detail = beat
    if age > _FORECASTS_SILENT:
        return bad(f"the loop that publishes forecasts has said nothing for {age:.0f} s", age)
    return ok(f"forecasts of {detail.get('fits', 0)} fits are published at every close", age)


CHECKS = (
    CheckDefinition(
        "supervisor", "error_recovery", "`crypto-pipeline up` runs and starts again what ends.", "critical",
        f"≤ {SILENT:g} s", "s", requires=("database",), evaluate=_supervisor,
    ),
    CheckDefinition(
        "ingest", "data_pipeline", "Every ingest program writes its heartbeat.", "critical",
        f"≤ {_INGEST_SILENT:g} s", "s", requires=("database", "database_writable"), covers=("run:live_ingest",),
        evaluate=_ingest, applies=lambda settings: settings.ingest,
    ),
    CheckDefinition(
        "dagster_daemon", "data_pipeline", "Dagster's daemon works: schedules, sensors and the run queue move.",
        "critical", f"≤ {_DAEMON_SILENT:g} s", "s", requires=("database", "database_writable"), evaluate=_daemon,
    ),
    CheckDefinition(
        "code_server", "data_pipeline", "Dagster's code server serves the definitions.", "critical",
        requires=("database", "supervisor"), evaluate=_code_server,
    ),
    CheckDefinition(
        "run_workers", "data_pipeline", "Every `crypto-pipeline run-worker` that was not stopped works.", "error",
        f"≤ {SILENT:g} s", "s", requires=("database", "database_writable"), evaluate=_run_workers,
        applies=lambda settings: settings.celery_broker_url is not None,
    ),
    CheckDefinition(
        "webserver", "error_recovery", "The Dagster UI answers.", "error",
        requires=("database", "code_server"), evaluate=_webserver,
    ),
    CheckDefinition(
        "http_api", "error_recovery", "The HTTP API answers.", "error",
        requires=("database", "supervisor"), evaluate=_http_api, applies=lambda settings: settings.api,
    ),
    CheckDefinition(
        "forecast_loop", "models", "Forecasts are published at every close and kept fresh.", "error",
        f"≤ {_FORECASTS_SILENT:g} s", "s", requires=("database", "database_writable", "supervisor"),
        evaluate=_forecast_loop, applies=lambda settings: settings.forecasts,
    ),
)  # fmt: skip
