"""Restarts: failed programs are started again with growing pauses, programs that hang are killed first."""

from __future__ import annotations

import time
from collections.abc import Callable

from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.supervision import supervisord
from crypto_pipeline.ops.supervision.health import NO_HEARTBEAT, HealthReport, crowding

#: Seconds (on a machine that is not busy) after which a program that does not answer is killed and started again. The
#: second figure is for ingest, whose last heartbeat is already old when it is reported.
_HUNG_AFTER, _SILENT_AFTER = 120.0, 5.0
_LONGEST_BACKOFF = 10.0


class Restarter:
    """Restarts programs again and again: supervisord itself stops after a few failures."""

    def __init__(
        self, client: supervisord.Supervisord, places: Places, say: Callable[[str], None], names: set[str]
    ) -> None:
        self._client = client
        self._places = places
        self._say = say
        self._names = names
        self._failures: dict[str, tuple[int, float]] = {}
        self._unhealthy_since: dict[str, float] = {}

    def check(self, found: HealthReport) -> None:
        """Restart the programs that have failed or hang according to the report."""
        now = time.monotonic()
        for info in found.processes:
            if info.name not in self._names:
                continue
            if found.is_healthy(info.name):
                self._failures.pop(info.name, None)
                self._unhealthy_since.pop(info.name, None)
            elif info.state in ("FATAL", "EXITED"):
                self._start_again(info, now)
            elif info.state == "RUNNING":
                self._kill_if_hung(info, found.troubles[info.name], now)

    def _start_again(self, info: supervisord.ProcessInfo, now: float) -> None:
        self._unhealthy_since.pop(info.name, None)
        count, last = self._failures.get(info.name, (0, -_LONGEST_BACKOFF))
        if now - last < min(2.0**count, _LONGEST_BACKOFF):
            return
        self._failures[info.name] = (count + 1, now)
        if count == 1:  # report the second failure in a row
            self._say(f"{info.name} keeps failing and is retried: {supervisord.tail(self._places, info.name, 1)}")
        _quietly(self._client.start, info.name)

    def _kill_if_hung(self, info: supervisord.ProcessInfo, trouble: str, now: float) -> None:
        # A restart does not help where the definitions cannot be loaded.
        if "cannot load" in trouble:
            return
        limit = _SILENT_AFTER if trouble.startswith(NO_HEARTBEAT) else _HUNG_AFTER * crowding()
        if (since := now - self._unhealthy_since.setdefault(info.name, now)) > limit:
            self._say(f"{info.name} has not answered for {since:.0f} s ({trouble}): restarting it")
            del self._unhealthy_since[info.name]
            _quietly(self._client.kill, info.name)


def _quietly(call: Callable[[str], None], name: str) -> None:
    """Call, and ignore that supervisord has just ended: the guardian starts it and all programs again."""
    try:
        call(name)
    except ConnectionError:
        pass
