"""Metrics for Prometheus, made anew for each scrape from the parts that ``DeploymentFigures`` reads.

Labels are bounded: venues, timeframes, checks, programs, jobs, severities and states, never instruments. Counters
come from the database, so they go on where they were after a restart of any program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from crypto_pipeline.api.operations.figures import DeploymentFigures
from crypto_pipeline.api.operations.parts import PartValue
from crypto_pipeline.ops.checks.states import CheckState

#: Prefix of the name of every metric.
PREFIX = "crypto_pipeline_"
#: Media type of Prometheus' text format.
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Samples = Iterable[tuple[Sequence[str], float | None]]


def exposition(figures: DeploymentFigures, reader_cache: Mapping[str, float]) -> bytes:
    """All metrics in Prometheus' text format. ``reader_cache``: figures of the cache of reads, by name."""
    registry = CollectorRegistry()
    registry.register(_DeploymentCollector(figures, reader_cache))
    return generate_latest(registry)


def gauge(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    """A gauge with its samples; those without a value are left out."""
    return _filled(GaugeMetricFamily(PREFIX + name, text, labels=labels), samples)


def counter(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    """A counter with its samples; ``name`` is given without ``_total``."""
    return _filled(CounterMetricFamily(PREFIX + name, text, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Samples) -> Metric:
    for labels, value in samples:
        if value is not None:
            family.add_metric(list(labels), float(value))
    return family


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _by(rows: Sequence[Mapping[str, Any]], labels: Sequence[str], value: str) -> list[tuple[list[str], Any]]:
    return [([str(row[label]) for label in labels], row[value]) for row in rows]


class _DeploymentCollector(Collector):
    """Reads every part once per scrape. A part that cannot be read leaves its metrics out, and says so in
    ``crypto_pipeline_scrape_part_ok``."""

    def __init__(self, figures: DeploymentFigures, reader_cache: Mapping[str, float]) -> None:
        self._figures, self._reader_cache = figures, reader_cache

    def describe(self) -> Iterable[Metric]:
        """Nothing: else registering would read every part."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        read: dict[str, PartValue] = {}
        for name, metrics in _METRICS.items():
            read[name] = self._figures.part(name)
            if read[name].trouble is None:
                yield from metrics(read[name].value)
        yield gauge("info", "The running version.", ["version"], [([_version()], 1)])
        answers = read["heartbeats"].trouble is None
        yield gauge("database_up", "1 while the database answers.", [], [([], float(answers))])
        ok = [([name], float(each.trouble is None)) for name, each in read.items()]
        yield gauge("scrape_part_ok", "1 for a part of the metrics that could be read.", ["part"], ok)
        took = [([name], each.seconds) for name, each in read.items()]
        yield gauge("scrape_part_seconds", "How long reading the part took, when it was last read.", ["part"], took)
        yield from _of_reader_cache(self._reader_cache)


@lru_cache(maxsize=1)
def _version() -> str:
    return version("crypto-pipeline")


def _of_reader_cache(stats: Mapping[str, float]) -> Iterator[Metric]:
    samples = [([name], value) for name, value in stats.items()]
    yield gauge("read_cache", "Figures of the cache of HTTP reads, since the API started.", ["figure"], samples)


def _database(row: Mapping[str, Any]) -> Iterator[Metric]:
    yield gauge("database_size_bytes", "Disk space of the database.", [], [([], row["size_bytes"])])
    yield gauge("database_read_only", "1 if the database refuses writes.", [], [([], float(row["read_only"]))])
    yield gauge("database_connections", "Open connections of the server.", [], [([], row["connections"])])
    yield gauge("database_connections_max", "Most connections of the server.", [], [([], row["connections_max"])])
    yield gauge("database_uptime_seconds", "Time since the server started.", [], [([], row["uptime_seconds"])])


def _instruments(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    active = [row for row in rows if row["active"]]
    labels = ["venue", "asset_class"]
    yield gauge("instruments", "Instruments that are collected.", labels, _by(active, labels, "instruments"))


def _newest_bars(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    labels = ["venue", "timeframe"]
    for name, text, column in (
        ("newest_bar_age_seconds", "Time since the end of the newest bar of any instrument.", "age_seconds"),
        ("oldest_newest_bar_age_seconds", "The same of the instrument that lags most.", "oldest_age_seconds"),
        ("instruments_late", "Instruments (of those that trade at all hours) whose next bar is overdue.", "late"),
        ("instruments_very_late", "Those that are overdue beyond the critical limit.", "very_late"),
    ):
        yield gauge(name, text, labels, _by(rows, labels, column))


def _stored_bars(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    labels = ["venue", "timeframe"]
    for name, text, column in (
        ("bars", "Bars that are stored, in tables and archive.", "present"),
        ("bars_archived", "Bars that are in the archive alone.", "archived"),
        ("bars_expected", "Bars that should exist by now.", "expected"),
        ("bars_explained", "Absent bars with a reason.", "explained"),
        ("bars_missing", "Absent bars without a reason.", "missing"),
    ):
        yield gauge(name, text, labels, _by(rows, labels, column))
    shares = [
        ([row["venue"], row["timeframe"], window], row[f"accounted_{window}"] / row[f"expected_{window}"])
        for row in rows
        for window in ("2d", "7d")
        if row[f"expected_{window}"]
    ]
    text = "Share of expected bars that is present or explained, over the running UTC day and those before it."
    yield gauge("coverage_ratio", text, [*labels, "window"], shares)


def _gaps(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    yield gauge("gaps_open", "Open rows of the ledger of absent bars.", ["state"], _by(rows, ["state"], "gaps"))
    yield gauge("gap_bars_open", "Bars of those rows.", ["state"], _by(rows, ["state"], "bars"))
    text = "Age of the oldest open row of the ledger."
    yield gauge("oldest_gap_age_seconds", text, ["state"], _by(rows, ["state"], "oldest_age_seconds"))


def _mirror(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    labels = ["dataset"]
    yield gauge("mirror_files", "Files of the mirror that reads use.", labels, _by(rows, labels, "files"))
    yield gauge("mirror_bytes", "Disk space of those files.", labels, _by(rows, labels, "bytes"))


def _jobs(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    runs = [([row["job"], "succeeded" if row["succeeded"] else "failed"], row) for row in rows]
    labels = ["processor", "status"]
    for name, text, column in (
        ("runs", "Runs of the processors.", "runs"),
        ("run_duration_seconds", "Time that runs of the processors took.", "seconds"),
        ("bars_written", "Bars that processors added or replaced.", "bars_made"),
        ("gaps_found", "Gaps that processors found.", "gaps_found"),
        ("gaps_filled", "Gaps that processors filled.", "gaps_filled"),
    ):
        yield counter(name, text, labels, [(names, row[column]) for names, row in runs])
    newest = [(names, _seconds(row["last_started"])) for names, row in runs]
    yield gauge("last_run_timestamp_seconds", "When the newest run began, in Unix time.", labels, newest)
    lasted = [(names, row["last_seconds"]) for names, row in runs]
    yield gauge("last_run_duration_seconds", "How long the newest run took.", labels, lasted)


def _alerts(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    yield gauge("alerts_open", "Alerts that are open.", ["severity"], _by(rows, ["severity"], "open"))
    yield counter("alerts_opened", "Alerts that were ever opened.", ["severity"], _by(rows, ["severity"], "opened"))


def _messages(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    labels = ["channel", "kind"]
    yield counter("messages_sent", "Messages that reached their channel.", labels, _by(rows, labels, "sent"))
    text = "Messages in the outbox that are not sent yet, or of which it is not known."
    yield gauge("messages_waiting", text, labels, _by(rows, labels, "waiting"))


#: Figures of ingest's heartbeat that are counters since its start, and what they count.
_INGEST_COUNTERS = {
    "trades": "Trades that ingest received.", "bars": "Bars that ingest closed.", "stored": "Trades that it stored.",
    "duplicates": "Trades that came more than once.", "jumps": "Jumps in the ids of trades.",
    "link_connects": "Connections that were opened to the venue's stream.", "asks": "Requests for lost trades.",
}  # fmt: skip


def _heartbeats(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    text = "Time since the last heartbeat."
    yield gauge("heartbeat_age_seconds", text, ["program"], _by(rows, ["name"], "age_seconds"))
    ingests = [row for row in rows if row["name"].startswith("ingest-")]
    for name, text in _INGEST_COUNTERS.items():
        samples = [([row["name"]], row["detail"].get(name)) for row in ingests]
        yield counter(f"ingest_{name}", text, ["program"], samples)
    for name, text in (
        ("lag", "Time from a trade at the venue until it was received."),
        ("bar_lag", "Time from the end of a minute until its bar was stored."),
    ):
        lags = [([row["name"]], row["detail"].get(f"{name}_ms")) for row in ingests]
        seconds = [(labels, None if value is None else value / 1000) for labels, value in lags]
        yield gauge(f"ingest_{name}_seconds", text, ["program"], seconds)


def _leases(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    yield gauge("lease_held", "1 while a process holds the lease.", ["lease"], _by(rows, ["name"], "held"))


def _budgets(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    labels = ["venue"]
    text = "Weight of requests that was booked at the venue."
    yield counter("venue_request_weight", text, labels, _by(rows, labels, "weight_total"))
    for name, text, column in (
        ("venue_request_weight_used", "Weight booked in the venue's running window.", "used"),
        ("venue_request_weight_allowed", "Weight that may be booked in one window.", "allowed"),
        ("venue_paused_seconds", "For how long the venue is not asked, because it demanded a pause.", "paused_seconds"),
    ):
        yield gauge(name, text, labels, _by(rows, labels, column))


def _checks(states: Sequence[CheckState]) -> Iterator[Metric]:
    labels = ["check", "subject", "severity"]
    for name, text, value in (
        ("check_bad", "1 for a check that is bad.", "bad"),
        ("check_unknown", "1 for a check that says nothing, because it did not run or could not find out.", "unknown"),
    ):
        samples = [([one.name, one.subject, one.severity], float(one.status == value)) for one in states]
        yield gauge(name, text, labels, samples)
    figures = [([one.name, one.subject, one.unit], one.figure) for one in states]
    yield gauge("check_figure", "What the check measured, in its unit.", ["check", "subject", "unit"], figures)


def _features(row: Mapping[str, Any]) -> Iterator[Metric]:
    yield gauge("features_age_seconds", "Age of the newest row of features.", [], [([], row["age_seconds"])])


def _views(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    text = "Time since the materialized view was refreshed."
    yield gauge("view_age_seconds", text, ["view"], _by(rows, ["name"], "age_seconds"))


def _queue(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    states = dict.fromkeys(("queued", "not_started", "starting", "started", "canceling"), 0)
    states |= {row["status"]: row["runs"] for row in rows}
    samples = [([state], runs) for state, runs in states.items()]
    yield gauge("dagster_runs", "Unfinished runs of Dagster.", ["status"], samples)
    waits = [row["oldest_seconds"] for row in rows if row["status"] == "queued"]
    yield gauge(
        "dagster_longest_wait_seconds", "How long the oldest queued run waits.", [], [([], max(waits, default=0))]
    )


def _runs_launched(runs: int) -> Iterator[Metric]:
    yield counter("dagster_runs_launched", "Runs that Dagster ever created.", [], [([], runs)])


def _daemons(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    text = "Time since Dagster's daemon was last heard of."
    yield gauge("dagster_daemon_age_seconds", text, ["daemon"], _by(rows, ["name"], "age_seconds"))


def _instigators(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    samples = [([row["kind"], row["name"]], _seconds(row["last_success"])) for row in rows]
    text = "When a schedule or sensor last ran without an error, in Unix time."
    yield gauge("dagster_last_success_timestamp_seconds", text, ["kind", "name"], samples)


def _machine(host: Any) -> Iterator[Metric]:
    yield gauge(
        "host_load1", "Mean number of processes that wanted to run in the last minute.", [], [([], host.load[0])]
    )
    yield gauge("host_processors", "Processors of the machine.", [], [([], host.processors)])
    yield counter("host_cpu_busy_seconds", "Time in which processors worked.", [], [([], host.cpu_busy_seconds)])
    yield gauge("host_memory_bytes", "Memory of the machine.", [], [([], host.memory_bytes)])
    text = "Memory that programs can still take."
    yield gauge("host_memory_available_bytes", text, [], [([], host.memory_available_bytes)])


def _disk(disk: Any) -> Iterator[Metric]:
    yield gauge("disk_size_bytes", "Size of the disk of the data directory.", [], [([], disk.size_bytes)])
    yield gauge("disk_free_bytes", "Free space on it.", [], [([], disk.free_bytes)])


def _programs(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    labels = ["program"]
    well = [([row["name"]], float(row["trouble"] is None)) for row in rows]
    yield gauge("program_healthy", "1 for a program that runs and answers.", labels, well)
    yield counter("program_cpu_seconds", "Processor time of the program.", labels, _by(rows, ["name"], "cpu_seconds"))
    text = "Resident memory of the program."
    yield gauge("program_resident_memory_bytes", text, labels, _by(rows, ["name"], "resident_bytes"))


#: The metrics of each part. ``heartbeats`` comes first: it says whether the database answers.
_METRICS: dict[str, Callable[[Any], Iterator[Metric]]] = {
    "heartbeats": _heartbeats, "database": _database, "instruments": _instruments, "newest_bars": _newest_bars,
    "stored_bars": _stored_bars, "gaps": _gaps, "mirror": _mirror, "jobs": _jobs, "alerts": _alerts,
    "messages": _messages, "checks": _checks, "leases": _leases,
    "budgets": _budgets, "features": _features, "views": _views, "queue": _queue, "runs_launched": _runs_launched,
    "daemons": _daemons, "instigators": _instigators, "machine": _machine, "disk": _disk, "programs": _programs,
}  # fmt: skip
