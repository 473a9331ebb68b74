"""What the operational checks judge: the facts of both databases, of the supervisor and of this machine at one
moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crypto_pipeline.settings import Settings
from crypto_pipeline.store.coordination.heartbeats import SUPERVISOR
from crypto_pipeline.store.coordination.replica_facts import ReplicaFacts
from crypto_pipeline.store.operations.figures.dagster_facts import DagsterFacts
from crypto_pipeline.store.operations.figures.health_facts import HealthFacts

#: Seconds after which a supervisor that did not end on purpose is no longer expected to come back.
FORGOTTEN = 7 * 86_400.0
#: Seconds after which a heartbeat of supervisor or notifier says nothing any more.
SILENT = 30.0


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """The disk of the data directory, in bytes. ``warn``: less free room than this is little."""

    total: int
    free: int
    warn: int
    reserve_kept: bool

    @property
    def used(self) -> float:
        """Share of the disk that is used, 0 to 1."""
        return 1.0 - self.free / self.total if self.total else 1.0


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at everything.

    Attributes:
        settings: Of the deployment.
        facts: Of the market database; None where it does not answer.
        database_trouble: Why it does not answer; None where it does.
        database_seconds: How long its first answer took.
        dagster: Facts of Dagster's database; None where they cannot be read.
        dagster_trouble: Why they cannot be read; None where they were.
        disk: The disk of the data directory; None where it cannot be read.
        newest_backup: Seconds since the newest backup that was right; None where there is none.
        wants_backups: Whether a backup is to be made every night.
        replica: The replica of ``database_read_url``; None where there is none, or the primary does not answer.
    """

    settings: Settings
    facts: HealthFacts | None = None
    database_trouble: str | None = None
    database_seconds: float = 0.0
    dagster: DagsterFacts | None = None
    dagster_trouble: str | None = None
    disk: DiskRoom | None = None
    newest_backup: float | None = None
    wants_backups: bool = False
    replica: ReplicaFacts | None = None

    @property
    def known(self) -> HealthFacts:
        """The facts of the market database, for checks that require it to answer."""
        assert self.facts is not None
        return self.facts

    @property
    def supervisors(self) -> dict[str, tuple[float, dict[str, Any]]]:
        """Supervisors that have worked on the database in the last week and did not end on purpose: name →
        (seconds since its heartbeat, detail).
        """
        beats = {} if self.facts is None else self.facts.heartbeats
        return {name: beat for name, beat in beats.items() if name.startswith(f"{SUPERVISOR}:") and beat[0] < FORGOTTEN}

    def program(self, name: str) -> dict[str, Any] | None:
        """State, pid, uptime and trouble of a supervised program; of several deployments the one with a trouble.

        None where no supervisor that works says anything about it.
        """
        looks = [
            detail["programs"][name]
            for age, detail in self.supervisors.values()
            if age <= SILENT and name in detail.get("programs", {})
        ]
        return next((one for one in looks if one.get("trouble")), looks[0] if looks else None)
