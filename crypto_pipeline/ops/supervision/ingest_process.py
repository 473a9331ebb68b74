"""One shard of ingest in a supervised program, and its link to the Dagster run that shows it.

Under ``up`` every shard of the live layer is a supervised program. It begins to ingest before it imports Dagster,
so that live bars do not wait for a queue, code server or daemon. Afterwards a thread of the same process shows it
as a run of Dagster (``defs.live.ingest_run``).
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from crypto_pipeline.ingest import Duty, IngestShard, MinuteDone, OnMinute
from crypto_pipeline.ops.host.processes import Identity, this_process
from crypto_pipeline.settings import Settings

log = logging.getLogger(__name__)

#: Log lines that may wait for the run's log; further ones are only in the program's own log file.
_MOST_LINES = 500
#: Seconds that a holder whose run was ended waits for a stand-by before it continues under a new run.
RELIEF = 8.0


class IngestProcess:
    """One shard that this process ingests. All methods are thread-safe."""

    def __init__(self, shard: IngestShard, worker: str | None = None) -> None:
        self.shard = shard
        self.worker: Identity = this_process()
        self.holder = f"{self.worker}:{uuid.uuid4().hex[:8]}"
        self.duty = Duty(rotates=False, ends_when_crowded=False, worker=worker)
        #: Set when the process ends.
        self.ended = threading.Event()
        #: Called with the figures of every minute; the run sets it while it exists.
        self.sink: Callable[[Mapping[str, Any]], None] | None = None
        #: Warnings and errors for the run's log.
        self.lines: queue.Queue[logging.LogRecord] = queue.Queue(_MOST_LINES)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def bind(self, stop: asyncio.Event) -> None:
        """Set the event that stops ingest. Call it in ingest's event loop."""
        self._loop, self._stop = asyncio.get_running_loop(), stop

    def stop(self) -> None:
        """Stop ingest cleanly; the supervisor starts a new process."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    def report(self, said: Mapping[str, Any]) -> None:
        """Take the figures that ingest reports once a minute."""
        if (sink := self.sink) is not None:
            sink(said)

    def give_way(self) -> None:
        """Hand over to a stand-by process because Dagster ended the run; without a stand-by, continue."""
        self.duty.over.set()
        self.ended.wait(RELIEF)
        self.duty.over.clear()


class LineQueueHandler(logging.Handler):
    """Puts records into a queue without waiting: another thread writes them into Dagster's storage."""

    def __init__(self, lines: queue.Queue[logging.LogRecord]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Put the record into the queue unless it is full."""
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            pass  # the program's log file has it; memory has a bound


_here: dict[str, IngestProcess] = {}


def offer(here: IngestProcess) -> None:
    """Register the shard for runs in this process."""
    _here[here.shard.label] = here


def ingest_here(label: str) -> IngestProcess | None:
    """The ingest of the shard with this label in this process, if there is one."""
    return _here.get(label)


class LateMinuteWork:
    """The work after each minute. Its modules are imported only once ingest is live, so that ingest starts sooner."""

    def __init__(self, settings: Settings, live: threading.Event) -> None:
        self._settings, self._live = settings, live
        self._made: OnMinute | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._prepare, name="after-minutes", daemon=True).start()

    def __call__(self, done: MinuteDone) -> Any:
        """Do the work of one minute. Ingest calls it in a separate thread."""
        return self._make()(done)

    def _prepare(self) -> None:
        self._live.wait()
        self._make()

    def _make(self) -> OnMinute:
        with self._lock:
            if self._made is None:
                from crypto_pipeline.trading.stored.live import after_minute_with_trading

                self._made = after_minute_with_trading(self._settings)
            return self._made
