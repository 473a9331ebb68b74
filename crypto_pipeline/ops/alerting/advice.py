"""What a person should do about an alert, and where the runbook says more."""

from __future__ import annotations

from crypto_pipeline.ops.checks.definition import RUNBOOK
from crypto_pipeline.ops.checks.registry import definition_of

#: The first action by source of the alert. A source with a subject (`run:make_backup`) is looked up whole, then by what
#: stands before its colon.
_ADVICE = {
    "database": "See whether PostgreSQL runs and has room: `crypto-pipeline status`, then its log.",
    "database_writable": "See why PostgreSQL refuses to write: a full disk, a standby, or read-only by setting.",
    "replica": "See whether the replica runs and streams (pg_stat_replication); the primary answers meanwhile.",
    "supervisor": "Start it again: `crypto-pipeline up`.",
    "ingest": "See `crypto-pipeline status`; it is started again by itself. If it stays so, read its log.",
    "dagster_daemon": "See `crypto-pipeline status`; it is started again by itself. If it stays so, read its log.",
    "code_server": "Read its log: an error in a definition or a setting keeps it from serving.",
    "run_workers": "Start the worker again: `crypto-pipeline run-worker --name` its name; its runs go on elsewhere.",
    "webserver": "Data is collected on. Read its log; `crypto-pipeline down` and `up` start it again.",
    "http_api": "Data is collected on. Read its log; `crypto-pipeline down` and `up` start it again.",
    "disk_room": "Free some space now: `crypto-pipeline storage trim` lists what it can delete at once.",
    "storage_disk_lasts": "Plan for more space or a shorter retention: `crypto-pipeline storage`.",
    "venue_bans": "Wait: requests go on by themselves when the venue allows it. Look for other programs on its limits.",
    "instruments_silent": "See `crypto-pipeline gaps`; if one instrument stays silent, see whether it still trades.",
    "clock": "Set the clock of the machine right: look at its time service (chrony, systemd-timesyncd).",
    "oldest_gap": "`crypto-pipeline gaps` says what was tried and when it is tried again.",
    "coverage_24h": "`crypto-pipeline gaps` says what is missing and why; `crypto-pipeline backfill` asks for it now.",
    "coverage_7d": "`crypto-pipeline gaps` says what is missing and why; `crypto-pipeline backfill` asks for it now.",
    "features_age": "See whether the runs of features succeed in the Dagster UI.",
    "backup": "Make one by hand and read what it says: `crypto-pipeline backup`.",
    "schedules_run": "See the schedules in the Dagster UI; a schedule that was stopped by hand must be started there.",
    "run_queue": "See which run holds the queue up in the Dagster UI, and end it there.",
    "notifications_delivered": "Send a test: `crypto-pipeline alerts test` says what each channel answers.",
    "notifier": "See `crypto-pipeline status`; without it no alert is sent.",
    "run": "Open the run in the Dagster UI; its next run that succeeds closes this.",
    "failover": "Nothing: bars come from another venue meanwhile, and are asked for again when the first one answers.",
    "asks": "Nothing at once: it is asked for with growing pauses. See whether the venue still lists the instrument.",
}
#: Paragraphs of the runbook about alerts that no check of that name raises.
_PARAGRAPHS = {"run": "job_errors", "failover": "connection", "asks": "connection", "stream": "connection"}
_PARAGRAPH_OF_ALL = "what-to-do-for-each-check"
_OTHERWISE = "`crypto-pipeline alerts` shows it with all others; `crypto-pipeline check` says how the system is."


def advice_for(source: str) -> str:
    """The first action for an alert of this source."""
    return _ADVICE.get(source) or _ADVICE.get(source.split(":")[0]) or _OTHERWISE


def runbook_for(source: str) -> str:
    """Page and anchor of the runbook: of the check, else of what raised the alert."""
    definition = definition_of(source)
    if definition is not None:
        return definition.runbook
    return f"{RUNBOOK}#{_PARAGRAPHS.get(source.split(':')[0], _PARAGRAPH_OF_ALL)}"


def unit_of(source: str) -> str:
    """The unit of the figure of a check; empty where there is none."""
    definition = definition_of(source)
    return definition.unit if definition is not None else ""
