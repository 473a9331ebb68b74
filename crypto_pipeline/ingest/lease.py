"""Holding the lease of a shard: exactly one process has it, renews it, and hands it over."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from crypto_pipeline.store import Lease, LeaseLost, Store, StoreError

log = logging.getLogger(__name__)

#: Pause between two attempts to take a lease that another process holds. Seconds.
_PAUSE = 0.5
#: How long the database names a process as standing by after it last asked for the lease. Seconds.
_STAND_BY = 5.0


def holder_name() -> str:
    """Name of this process as a holder: machine, process id, and a random part that no other start has."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True)
class Duty:
    """What ingest and the caller that started it tell each other, from any thread."""

    #: Whether ingest hands over after ``ingest_rotate_hours``.
    rotates: bool = True
    #: Whether ingest ends when another process stands by already, instead of waiting behind it.
    ends_when_crowded: bool = True
    #: Name of the worker that this process belongs to; its heartbeat states it. None: none shares the shards.
    worker: str | None = None
    #: Set by ingest when it is live for the first time: less urgent work may begin.
    live: threading.Event = field(default_factory=threading.Event)
    #: Set by the caller when ingest should hand over to the first process that stands by.
    over: threading.Event = field(default_factory=threading.Event)


class Holder:
    """One process's claim to the lease of a shard. ``store`` writes under the lease as long as it is held."""

    def __init__(self, store: Store, name: str, holder: str, seconds: float, worker: str | None = None) -> None:
        self.plain, self.name, self.holder, self.seconds, self.worker = store, name, holder, seconds, worker
        self.lease: Lease | None = None
        self._fenced: Store | None = None

    @property
    def store(self) -> Store:
        """The store under the lease. Raises LeaseLost when there is none."""
        if self._fenced is None:
            raise LeaseLost(f"the lease {self.name} is not held by {self.holder}")
        return self._fenced

    async def take(self, stop: asyncio.Event, duty: Duty) -> Literal["taken", "stopped", "crowded"]:
        """Wait until this process has the lease, standing by meanwhile.

        ``stopped``: ``stop`` was set before that. ``crowded``: another process stands by already. Raises StoreError
        while PostgreSQL does not answer.
        """
        logged = False
        while not stop.is_set():
            if await asyncio.to_thread(self._acquire):
                return "taken"
            if not logged:
                log.info("%s is held by another process: standing by", self.name)
                logged = True
            first = await asyncio.to_thread(self.plain.leases.stand_by, self.name, self.holder, _STAND_BY)
            if not first and duty.ends_when_crowded:
                return "crowded"
            try:
                await asyncio.wait_for(stop.wait(), _PAUSE)
            except TimeoutError:
                continue
        return "stopped"

    def renew_or_retake(self) -> bool:
        """Renew the lease, or take it again where it expired (a paused process, a database that was away).

        False: another process had the lease in between, so nothing more may be written. Raises StoreError while
        PostgreSQL does not answer, or while a transaction locks the row of the lease.
        """
        before = self.lease
        if before is None:
            return False
        try:
            self.plain.leases.renew(before, self.seconds)
        except LeaseLost:
            return self._retake(before)
        return True

    def _retake(self, before: Lease) -> bool:
        if not self._acquire():
            token = next((row.token for row in self.plain.leases.rows() if row.name == self.name), before.token)
            if token == before.token:
                raise StoreError(f"the lease {self.name} expired, and its row is locked by another transaction")
            return False
        assert self.lease is not None
        if self.lease.token != before.token + 1:
            self.release()
            return False
        log.warning("the lease %s had expired and was taken again", self.name)
        return True

    def beat(self, detail: Mapping[str, Any]) -> str | None:
        """Renew the lease and write the heartbeat row. Returns the holder that stands by. Raises LeaseLost."""
        if self.lease is None:
            raise LeaseLost(f"the lease {self.name} is not held by {self.holder}")
        waiting = self.plain.leases.renew(self.lease, self.seconds)
        said = detail if self.worker is None else {**detail, "worker": self.worker}
        self.store.heartbeats.beat(self.name, self.holder, said)
        return waiting

    def release(self) -> None:
        """Give the lease back, so that the next process need not wait until it expires."""
        lease, self.lease, self._fenced = self.lease, None, None
        if lease is not None:
            self.plain.leases.release(lease)

    def _acquire(self) -> bool:
        lease = self.plain.leases.acquire(self.name, self.holder, self.seconds)
        if lease is None:
            return False
        self.lease, self._fenced = lease, self.plain.fenced(lease)
        return True
