"""Exactly one: holding the lease of a shard, keeping it alive, and handing it over."""

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

from crypto_pipeline.store import Lease, LeaseLost, Store

log = logging.getLogger(__name__)

#: Between two tries to take a lease that somebody holds; how long a stand-by is known to the holder. Seconds.
_TRY, _STAND_BY = 0.5, 5.0


def holder_name() -> str:
    """Who we are: machine, process, and something that no other start has."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True)
class Duty:
    """What ingest and whoever started it tell each other, from any thread."""

    #: Whether it hands over after ``ingest_rotate_hours``.
    rotates: bool = True
    #: Whether it ends when somebody else stands by already, instead of waiting behind.
    ends_when_crowded: bool = True
    #: Set by ingest when it is live for the first time: what is less urgent may begin.
    live: threading.Event = field(default_factory=threading.Event)
    #: Set by who started it: what it runs under is over, so it hands over to the first that stands by.
    over: threading.Event = field(default_factory=threading.Event)


class Holder:
    """One process's claim to a shard. ``store`` writes under the lease as long as it is held."""

    def __init__(self, store: Store, name: str, holder: str, seconds: float) -> None:
        self.plain, self.name, self.holder, self.seconds = store, name, holder, seconds
        self.lease: Lease | None = None
        self._fenced: Store | None = None

    @property
    def store(self) -> Store:
        """The store under the lease. Raises LeaseLost when there is none."""
        if self._fenced is None:
            raise LeaseLost(f"the lease {self.name} is not held by {self.holder}")
        return self._fenced

    async def take(self, stop: asyncio.Event, duty: Duty) -> Literal["taken", "stopped", "crowded"]:
        """Wait until the lease is ours, standing by meanwhile.

        ``stopped``: told to stop before that. ``crowded``: somebody else stands by, and that is enough.
        """
        told = False
        while not stop.is_set():
            if await asyncio.to_thread(self._acquire):
                return "taken"
            if not told:
                log.info("%s is held by somebody else: standing by", self.name)
                told = True
            first = await asyncio.to_thread(self.plain.leases.stand_by, self.name, self.holder, _STAND_BY)
            if not first and duty.ends_when_crowded:
                return "crowded"
            try:
                await asyncio.wait_for(stop.wait(), _TRY)
            except TimeoutError:
                continue
        return "stopped"

    def retake(self) -> bool:
        """After the lease ran out (a paused process, a database that was away): ours again if nobody had it between."""
        before = self.lease
        if before is None or not self._acquire():
            return False
        assert self.lease is not None
        if self.lease.token != before.token + 1:
            self.release()
            return False
        log.warning("%s had run out and was taken again", self.name)
        return True

    def beat(self, detail: Mapping[str, Any]) -> str | None:
        """Renew, and say so. Returns who stands by. Raises LeaseLost."""
        if self.lease is None:
            raise LeaseLost(f"the lease {self.name} is not held by {self.holder}")
        waiting = self.plain.leases.renew(self.lease, self.seconds)
        self.store.heartbeats.beat(self.name, self.holder, detail)
        return waiting

    def release(self) -> None:
        """Give it back."""
        lease, self.lease, self._fenced = self.lease, None, None
        if lease is not None:
            self.plain.leases.release(lease)

    def _acquire(self) -> bool:
        lease = self.plain.leases.acquire(self.name, self.holder, self.seconds)
        if lease is None:
            return False
        self.lease, self._fenced = lease, self.plain.fenced(lease)
        return True
