"""The workers that share the shards of a deployment, by their heartbeats, and what each is to have."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from crypto_pipeline.ingest.lease import Duty
from crypto_pipeline.ingest.shards import IngestShard, ingest_shards, shards_with_instruments
from crypto_pipeline.ingest.workers.assignment import assigned
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, StoreError

log = logging.getLogger(__name__)

#: The heartbeat of a worker is called so and its name.
WORKER = "worker:"
#: Seconds between two heartbeats of a worker, and seconds without one after which the others take its shards over.
#: A shard is taken once its lease has expired; the programs for it are started before that.
BEAT, GONE = 2.0, 6.0


@dataclass(frozen=True, slots=True)
class Membership:
    """The living workers and what they hold, at one moment.

    Attributes:
        workers: Names of the workers whose heartbeat is fresh.
        held: The worker of each shard whose lease is held by a worker, by the shard's name.
        shards: Names of all shards of the deployment.
    """

    workers: tuple[str, ...]
    held: Mapping[str, str]
    shards: tuple[str, ...]

    def part_of(self, worker: str) -> set[str]:
        """Names of the shards that ``worker`` is to have; all of them where it is the only one."""
        if set(self.workers) <= {worker}:
            return set(self.shards)
        return {shard for shard, one in assigned(self.shards, self.workers, self.held).items() if one == worker}


class Workers:
    """One worker's view of all workers. Thread-safe."""

    def __init__(self, settings: Settings, store: Store, name: str) -> None:
        self._settings, self._store, self.name = settings, store, name
        #: Names of the shards that the settings name, which must be the same for all workers.
        self.configured = sorted(shard.name for shard in ingest_shards(settings))

    def shards(self) -> list[IngestShard]:
        """The shards that have something to ingest. Raises StoreError."""
        return shards_with_instruments(self._settings, self._store)

    def beat(self) -> None:
        """Write this worker's heartbeat. Raises StoreError."""
        self._store.heartbeats.beat(f"{WORKER}{self.name}", self.name, {"shards": self.configured})

    def leave(self) -> None:
        """Say that this worker ends, so that the others need not wait. Raises StoreError."""
        self._store.heartbeats.forget(f"{WORKER}{self.name}")

    def look(self) -> Membership:
        """Who works on what now. Raises StoreError, also where another worker has other shards than this one."""
        living = [row for row in self._store.heartbeats.all(f"{WORKER}%") if row.age < GONE]
        for row in living:
            if row.holder != self.name and (other := row.detail.get("shards")) != self.configured:
                raise StoreError(
                    f"worker {row.holder} shares the shards {', '.join(other or ())}, and this one has "
                    f"{', '.join(self.configured)}: give all workers the same venues and CRYPTO_PIPELINE_INGEST_SHARDS"
                )
        shards = tuple(sorted(shard.name for shard in self.shards()))
        return Membership(tuple(sorted(row.holder for row in living)), self._held(), shards)

    def _held(self) -> dict[str, str]:
        found, beats = {}, {row.name: row for row in self._store.heartbeats.all("ingest-%")}
        for lease in self._store.leases.rows():
            beat = beats.get(lease.name)
            if lease.held and beat is not None and beat.holder == lease.holder:
                worker = beat.detail.get("worker")
                if isinstance(worker, str):
                    found[lease.name] = worker
        return found


class Rebalancing:
    """Has one shard handed over while its worker is to have fewer: to the first process that stands by for it."""

    def __init__(self, workers: Workers, shard: str, duty: Duty) -> None:
        self._workers, self._shard, self._duty = workers, shard, duty
        self._asked = False

    def look(self) -> None:
        """Ask ingest to hand over, or take that back. Raises StoreError."""
        seen = self._workers.look()
        name = self._workers.name
        surplus = seen.held.get(self._shard) == name and self._shard not in seen.part_of(name)
        if surplus:
            if not self._asked:
                log.info("%s is to be ingested by another worker of %s", self._shard, ", ".join(seen.workers))
            self._duty.over.set()
        elif self._asked and not surplus:
            self._duty.over.clear()
        self._asked = surplus

    def repeat(self, ended: threading.Event, *, beats: bool) -> None:
        """Look every two seconds until ``ended``; ``beats``: write the worker's heartbeat too."""
        while not ended.wait(BEAT):
            try:
                if beats:
                    self._workers.beat()
                self.look()
            except StoreError as error:
                log.warning("%s", error)
