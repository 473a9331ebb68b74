"""One worker of ingest: it runs the programs of its part of the shards, beside other workers on the same database."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time

from crypto_pipeline.ingest.shards import IngestShard
from crypto_pipeline.ingest.workers.membership import BEAT, Workers
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.supervision.programs import SupervisedProgram, tied_to_parent
from crypto_pipeline.settings import PREFIX, Settings
from crypto_pipeline.store import Store, StoreError

log = logging.getLogger(__name__)

#: Seconds between two looks, and between two starts of a program that ends by itself.
_LOOK_EVERY, _AGAIN = 1.0, 3.0
#: Seconds for which a worker that ends waits until others have taken its shards over, and for its programs to end.
_HANDED_OVER, _ENDED = 20.0, 15.0


def worker_name(places: Places) -> str:
    """Name of the worker of a data directory: machine and deployment."""
    return f"{socket.gethostname()}/{places.deployment()}"


class IngestWorker:
    """Starts a program for each shard of its part, and ends those that stand by for a shard of another part.

    A program that ingests a shard of another part hands over by itself (see Rebalancing) and ends.
    """

    def __init__(self, settings: Settings, store: Store, name: str) -> None:
        self._settings, self.name = settings, name
        self._workers = Workers(settings, store, name)
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self._beat = float("-inf")

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; then let others take over, and end every program.

        Raises StoreError where another worker has other shards; while the database is away the programs go on.
        """
        self._workers.look()
        try:
            while not stop.is_set():
                try:
                    self.look()
                except StoreError as error:
                    log.warning("%s", error)
                stop.wait(_LOOK_EVERY)
            self._hand_over()
        finally:
            self._end(list(self._programs))

    def look(self) -> None:
        """Write the heartbeat, and start and end programs as the parts require. Raises StoreError."""
        if time.monotonic() - self._beat >= BEAT:
            self._workers.beat()
            self._beat = time.monotonic()
        seen = self._workers.look()
        part = seen.part_of(self.name)
        for name in [each for each, program in self._programs.items() if program.poll() is not None]:
            log.info("%s ended with code %s", name, self._programs.pop(name).returncode)
        for shard in self._workers.shards():
            if shard.name in part and shard.name not in self._programs:
                self._start(shard)
        # what is held by this worker is handed over before its program ends
        self._end([name for name in self._programs if name not in part and seen.held.get(name) != self.name])

    def _start(self, shard: IngestShard) -> None:
        if time.monotonic() - self._started.get(shard.name, float("-inf")) < _AGAIN:
            return
        self._started[shard.name] = time.monotonic()
        chosen = ["--venue", shard.venue, "--shard", str(shard.number), "--shards", str(shard.count)]
        command = [sys.executable, "-m", "crypto_pipeline.cli.ingest_program", *chosen, "--worker", self.name]
        environment = {**os.environ, f"{PREFIX}DATA_DIR": str(self._settings.data_dir)}
        tied = tied_to_parent(SupervisedProgram(shard.name, command))
        self._programs[shard.name] = subprocess.Popen(tied, env=environment, stdin=subprocess.DEVNULL)
        log.info("%s started as process %d", shard.name, self._programs[shard.name].pid)

    def _hand_over(self) -> None:
        """Leave, and wait until the others, if there are any, have taken what this worker ingests."""
        until = time.monotonic() + _HANDED_OVER
        try:
            self._workers.leave()
            while time.monotonic() < until and any(one.poll() is None for one in self._programs.values()):
                if not set(self._workers.look().workers) - {self.name}:
                    return
                time.sleep(_LOOK_EVERY)
        except StoreError as error:  # the leases expire by themselves
            log.warning("%s", error)

    def _end(self, names: list[str]) -> None:
        ending = [self._programs.pop(name) for name in names]
        for program in ending:
            program.terminate()
        until = time.monotonic() + _ENDED
        for program in ending:
            try:
                program.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
