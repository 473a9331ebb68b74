"""The figures of a deployment, in parts, over a few connections of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from crypto_pipeline.api.operations.parts import AwayMark, Part, PartValue
from crypto_pipeline.ops.checks.recorded import states_from
from crypto_pipeline.ops.checks.states import CheckState
from crypto_pipeline.ops.host.processes import DEPLOYMENT
from crypto_pipeline.ops.host.usage import disk_usage, host_usage, process_usage
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import dagster_url
from crypto_pipeline.store.coordination.heartbeats import SUPERVISOR
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.operations.check_states import read_states
from crypto_pipeline.store.operations.figures.dagster import DagsterFigures
from crypto_pipeline.store.operations.figures.deployment import MetricsScrape, read_over

#: Seconds for which a part is kept: of one quick query, of lookups in every series, of sums over all days.
_QUICK, _SERIES, _SUMS = 2.0, 15.0, 60.0
#: Seconds after which a statement is cancelled, and for which a database that is away is asked again.
_STATEMENT_SECONDS, _PATIENCE = 5.0, 1.0
_CONNECTIONS = 3
#: Connections of requests that start runs, and how long such a request waits for one like it.
_REQUEST_CONNECTIONS, _LOCK_SECONDS = 2, 30.0


class DeploymentFigures:
    """Everything that health pages and scrapes show. ``part`` never raises for a part that cannot be read."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.settings = settings
        limits = {"patience": _PATIENCE, "statement_timeout": _STATEMENT_SECONDS}
        self.connections = Connections(url, _CONNECTIONS, **limits)
        #: Of requests that start runs: they hold a lock while Dagster answers.
        self.requests = Connections(url, _REQUEST_CONNECTIONS, patience=_PATIENCE, statement_timeout=_LOCK_SECONDS)
        self.scrape = MetricsScrape(self.connections, settings.venue)
        self.dagster = DagsterFigures(dagster_url(settings, url), _STATEMENT_SECONDS)
        #: Heartbeat of the process that supervises this one; its detail has every program.
        self.supervisor = f"{SUPERVISOR}:{os.environ.get(DEPLOYMENT)}"
        self._background = ThreadPoolExecutor(1, "figures")
        self._parts = {part.name: part for part in [*self._of_database(), *self._of_dagster(), *self._of_machine()]}

    def part(self, name: str) -> PartValue:
        """The part called ``name``."""
        return self._parts[name].get()

    def parts(self, shown: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
        """The values of parts by the names under which they are shown, None where one cannot be read, and why not."""
        read = {name: self.part(part) for name, part in shown.items()}
        troubles = {name: one.trouble for name, one in read.items() if one.trouble is not None}
        return {name: one.value for name, one in read.items()}, troubles

    def close(self) -> None:
        """Close the connections, once what is being read is there."""
        self._background.shutdown()
        self.connections.close()
        self.requests.close()
        self.dagster.close()

    def _heartbeats(self) -> list[dict[str, Any]]:
        """Heartbeats; that of our own supervising process is called just so."""
        rows = self.scrape.heartbeats()
        return [{**row, "name": SUPERVISOR if row["name"] == self.supervisor else row["name"]} for row in rows]

    def _of_database(self) -> list[Part]:
        away, scrape = AwayMark(), self.scrape

        def newest() -> Any:
            return scrape.newest_bars(self.settings.freshness_ok, self.settings.freshness_critical)

        quick: dict[str, Callable[[], Any]] = {
            "heartbeats": self._heartbeats, "leases": scrape.leases, "budgets": scrape.budgets,
            "jobs": scrape.jobs, "alerts": scrape.alerts, "features": scrape.features, "views": scrape.views,
            "instruments": scrape.instruments, "ping": scrape.ping, "checks": self._checks,
            "messages": scrape.messages,
        }  # fmt: skip
        sums = {"stored_bars": scrape.stored_bars, "gaps": scrape.gaps, "mirror": scrape.mirror}
        return [
            *(Part(name, read, _QUICK, away) for name, read in quick.items()),
            Part("database", scrape.database, _SERIES, away, self._background),
            Part("newest_bars", newest, _SERIES, away, self._background),
            *(Part(name, read, _SUMS, away, self._background) for name, read in sums.items()),
        ]

    def _of_dagster(self) -> list[Part]:
        away, dagster = AwayMark(), self.dagster
        quick: dict[str, Callable[[], Any]] = {
            "queue": dagster.queue, "runs_launched": dagster.launched, "daemons": self._daemons,
        }  # fmt: skip
        return [
            *(Part(name, read, _QUICK, away) for name, read in quick.items()),
            Part("instigators", self._instigators, _SERIES, away, self._background),
        ]

    def _of_machine(self) -> list[Part]:
        never_away, data_dir = AwayMark(), self.settings.data_dir

        def disk() -> Any:
            return disk_usage(data_dir if data_dir.exists() else Path.cwd())

        return [
            Part("machine", host_usage, _QUICK, never_away),
            Part("disk", disk, _QUICK, never_away),
            Part("programs", self._programs, _QUICK, never_away),
        ]

    def _daemons(self) -> list[dict[str, Any]]:
        return [{"name": name.lower(), "age_seconds": age} for name, age in self.dagster.daemons().items()]

    def _instigators(self) -> list[dict[str, Any]]:
        """Schedules and sensors as ``InstigatorStatus`` has them."""
        now = datetime.now(UTC)

        def ago(seconds: float | None) -> datetime | None:
            return None if seconds is None else now - timedelta(seconds=seconds)

        return [
            {
                "name": one.name, "kind": one.kind.lower(), "running": one.running, "cron": one.cron,
                "last_tick": ago(one.last_tick), "last_success": ago(one.last_success),
                "last_status": None if one.last_status is None else one.last_status.lower(),
            }
            for one in self.dagster.instigators()
        ]  # fmt: skip

    def _checks(self) -> list[CheckState]:
        return states_from(read_over(self.connections, read_states), self.settings)

    def _programs(self) -> list[dict[str, Any]]:
        """Programs by the row of the supervising process: ``name``, ``state``, ``pid``, ``trouble``, and what each uses
        of this machine. The process that answers is always among them."""
        beats = self.part("heartbeats").value or []
        detail: dict[str, Any] = next((row["detail"] for row in beats if row["name"] == SUPERVISOR), {})
        programs = dict(detail.get("programs", {}))
        programs.setdefault("api", {"state": "RUNNING", "pid": os.getpid(), "trouble": None})
        found = []
        for name, one in sorted(programs.items()):
            used = process_usage(one["pid"]) if one.get("pid") else None
            found.append(
                {
                    "name": name, "state": one.get("state"), "pid": one.get("pid"), "trouble": one.get("trouble"),
                    "cpu_seconds": None if used is None else used.cpu_seconds,
                    "resident_bytes": None if used is None else used.resident_bytes,
                }
            )  # fmt: skip
        return found
