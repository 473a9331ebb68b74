"""What is done about programs that fail: started again with backoff, killed when they hang."""

from __future__ import annotations

import time
from collections.abc import Callable

from crypto_pipeline.ops.supervision import supervisord
from crypto_pipeline.ops.supervision.health import NO_HEARTBEAT, HealthReport, crowding
from crypto_pipeline.ops.supervision.paths import Places

#: A program that runs but does not answer for this long (on a machine that is not busy) is killed and started again;
#: ingest, whose last sign of life is old by then, after this.
_HUNG_AFTER, _SILENT_AFTER = 120.0, 5.0
_LONGEST_BACKOFF = 10.0


class Restarter:
    """Keeps no program down for ever: supervisord gives up after a few failures, this does not."""

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
        """Act on one round of questions."""
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
        if count == 1:  # once is bad luck; twice is worth a word
            self._say(f"{info.name} keeps failing and is retried: {supervisord.tail(self._places, info.name, 1)}")
        _quietly(self._client.start, info.name)

    def _kill_if_hung(self, info: supervisord.ProcessInfo, trouble: str, now: float) -> None:
        # One that answers with an error of ours (definitions that do not load) is not helped by a restart.
        if "cannot load" in trouble:
            return
        limit = _SILENT_AFTER if trouble.startswith(NO_HEARTBEAT) else _HUNG_AFTER * crowding()
        if (since := now - self._unhealthy_since.setdefault(info.name, now)) > limit:
            self._say(f"{info.name} has not answered for {since:.0f} s ({trouble}): restarting it")
            del self._unhealthy_since[info.name]
            _quietly(self._client.kill, info.name)


def _quietly(call: Callable[[str], None], name: str) -> None:
    """Commands to a supervisord that just died are lost; the guardian starts it and everything anew."""
    try:
        call(name)
    except ConnectionError:
        pass
