"""Checks of what Dagster does by schedule: schedules tick, the queue moves, jobs succeed, there is a backup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from crypto_pipeline.ops.checks.definition import CheckDefinition
from crypto_pipeline.ops.checks.observation import Observation
from crypto_pipeline.ops.checks.states import CheckFinding, bad, ok, unknown
from crypto_pipeline.settings import Settings
from crypto_pipeline.store.operations.figures.dagster_facts import Instigator

BACKUP_JOB = "make_backup"
#: Jobs whose newest run is looked at.
JOBS = [BACKUP_JOB]
#: Schedules in the time zone of the reports; all others are in UTC.
IN_REPORT_ZONE = ("morning_report", "afternoon_report")
#: A tick may be this late, seconds: the daemon goes round, and a code server that has just started loads first.
_LATE = 300.0
#: A run may wait this long while no other is started.
_LONGEST_WAIT = timedelta(minutes=10).total_seconds()
#: Failures of a job in a row, percent of failed runs, and the runs below which a share says nothing.
_IN_A_ROW, _ERRORS, _FEW_RUNS = 3, 5.0, 20
#: An older backup means that two nights were missed.
_OLD_BACKUP = timedelta(hours=54).total_seconds()


def _schedules(seen: Observation) -> CheckFinding:
    if seen.dagster is None:
        return unknown(f"Dagster's database cannot be read: {seen.dagster_trouble}")
    now = datetime.now(UTC)
    schedules = [one for one in seen.dagster.instigators if one.kind == "SCHEDULE" and one.cron is not None]
    offenders = []
    for one in schedules:
        zone = ZoneInfo(zone_of(one.name, seen.settings))
        if (why := _schedule_trouble(one, now, zone)) is not None:
            offenders.append({"schedule": one.name, "because": why})
    if not schedules:
        return unknown("Dagster knows no schedule yet")
    if offenders:
        said = "; ".join(f"{one['schedule']} {one['because']}" for one in offenders[:3])
        return bad(said, float(len(offenders)), offenders=tuple(offenders))
    return ok(f"{len(schedules)} schedules tick as they should", 0.0)


def zone_of(schedule: str, settings: Settings) -> str:
    """The time zone in which a schedule's times are meant: Dagster does not store it with the schedule."""
    return settings.report_time_zone if schedule in IN_REPORT_ZONE else "UTC"


def _schedule_trouble(one: Instigator, now: datetime, zone: ZoneInfo) -> str | None:
    """Why a schedule, whose times are in ``zone``, does not do its work; None where it does. ``now`` is in UTC."""
    if not one.running:
        return "is turned off"
    assert one.cron is not None
    last = max(-1e9, -min(one.made, 1e9 if one.last_tick is None else one.last_tick))
    due = next(CronSim(one.cron, (now + timedelta(seconds=last)).astimezone(zone))).astimezone(UTC)
    overdue = (now - due).total_seconds()
    if overdue > _LATE:
        return f"should have run at {due:%Y-%m-%d %H:%M} UTC"
    if one.last_status == "FAILURE":
        return "fails at every tick" if one.last_success is None else "failed at its newest tick"
    return None


def _queue(seen: Observation) -> CheckFinding:
    if seen.dagster is None:
        return unknown(f"Dagster's database cannot be read: {seen.dagster_trouble}")
    found = seen.dagster
    if found.oldest_queued is None:
        return ok("no run waits", 0.0)
    minutes = found.oldest_queued / 60
    if found.oldest_queued < _LONGEST_WAIT or found.started:
        return ok(f"{found.queued} runs wait, the oldest for {minutes:.0f} min; the queue moves", minutes)
    slots = ", ".join(f"{count} of {job}" for job, count in found.holding.items()) or "none"
    said = (
        f"the run queue does not move: {found.queued} runs wait, the oldest for {minutes:.0f} min, and none was "
        f"started in the last {_LONGEST_WAIT / 60:.0f} min; runs that hold slots: {slots}"
    )
    return bad(said, minutes)


def _backup(seen: Observation) -> CheckFinding:
    """The newest attempt succeeded, and a right backup is young enough."""
    last = None if seen.dagster is None else seen.dagster.last_runs.get(BACKUP_JOB)
    age = seen.newest_backup
    if last is not None and last.status == "FAILURE" and (age is None or last.age < age):
        return bad(f"the last backup failed {last.age / 60:.0f} min ago (run {last.run_id})", None)
    if not seen.wants_backups:
        return ok("no nightly backup is wanted (CRYPTO_PIPELINE_BACKUP_DAILY)")
    if age is None:
        # the first schedule that Dagster stored is as old as the deployment
        born = max((one.made for one in seen.dagster.instigators), default=None) if seen.dagster is not None else None
        if born is None:
            return unknown("there is no backup yet, and the age of the deployment is not known")
        if born < _OLD_BACKUP:
            return ok("the deployment is young: its first nightly backup is still to come")
        return bad("there is no backup that is right")
    said = f"the newest backup that is right is {timedelta(seconds=round(age))} old"
    return CheckFinding("bad" if age > _OLD_BACKUP else "ok", said, age / 3600)


def _processors(seen: Observation) -> CheckFinding:
    """No job has failed three times in a row."""
    jobs = seen.known.jobs
    if not jobs:
        return unknown("no job has kept figures of itself yet")
    failing = [one for one in jobs if one.in_a_row >= _IN_A_ROW]
    most = float(max(one.in_a_row for one in jobs))
    if not failing:
        return ok(f"{len(jobs)} jobs; none has failed {_IN_A_ROW} times in a row", most)
    said = ", ".join(f"{one.job} ({one.in_a_row} times)" for one in failing)
    return bad(f"failed in a row: {said}", most, None, [{"job": one.job, "failures": one.in_a_row} for one in failing])


def _job_errors(seen: Observation) -> CheckFinding:
    """Of no job have many runs of the last day failed."""
    judged = [one for one in seen.known.jobs if one.runs >= _FEW_RUNS]
    if not judged:
        return unknown(f"no job has had {_FEW_RUNS} runs in the last day: too few to judge")
    worst = max(judged, key=lambda one: one.failed / one.runs)
    share = 100 * worst.failed / worst.runs
    said = f"{worst.failed} of {worst.runs} runs of {worst.job} in the last day failed ({share:.1f} %)"
    if share < _ERRORS:
        return ok(said, share)
    failing = [one for one in judged if 100 * one.failed / one.runs >= _ERRORS]
    return bad(said, share, None, [{"job": one.job, "failed": one.failed, "runs": one.runs} for one in failing])


_DAGSTER = ("database", "dagster_daemon", "code_server")

CHECKS = (
    CheckDefinition(
        "schedules_run", "error_recovery", "Every schedule is on and has run when it was due.", "error",
        f"≤ {_LATE / 60:g} min late", "schedules", requires=_DAGSTER, evaluate=_schedules,
    ),
    CheckDefinition(
        "run_queue", "load", "Runs that wait are started.", "error", f"≤ {_LONGEST_WAIT / 60:g} min", "min",
        requires=("database", "dagster_daemon"), evaluate=_queue,
    ),
    CheckDefinition(
        "processors", "error_recovery", "No job has failed three times in a row.", "error",
        f"< {_IN_A_ROW} failures", "failures", requires=_DAGSTER, evaluate=_processors,
    ),
    CheckDefinition(
        "job_errors", "error_recovery", "Of no job have many runs of the last day failed.", "warning",
        f"< {_ERRORS:g} %", "%",
        requires=(*_DAGSTER, "processors"), evaluate=_job_errors,
    ),
    CheckDefinition(
        "backup", "error_recovery", "The last backup succeeded and is younger than two nights.", "error",
        f"≤ {_OLD_BACKUP / 3600:g} h", "h", requires=("database",), covers=(f"run:{BACKUP_JOB}", "backup_is_recent"),
        evaluate=_backup,
    ),
)  # fmt: skip
