"""The supervising process: starts all programs in order, restarts those that end, stops all of them.

It watches supervisord, which watches the programs. A descendant that loses its parent becomes its child, so no program
escapes when supervisord itself is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

from crypto_pipeline.addresses import base_url
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host import disk_space, processes
from crypto_pipeline.ops.host.memory import release_memory_regularly
from crypto_pipeline.ops.host.paths import Places, UpLock, UpState, running_state
from crypto_pipeline.ops.housekeeping.disk_watch import DiskWatch
from crypto_pipeline.ops.replay_clock import replay_clock
from crypto_pipeline.ops.supervision import health, supervisord
from crypto_pipeline.ops.supervision.dagster_home import write_dagster_home
from crypto_pipeline.ops.supervision.heartbeat import SupervisorHeartbeat
from crypto_pipeline.ops.supervision.programs import (
    POSTGRES,
    SupervisedProgram,
    claim_ports,
    environment,
    given_settings,
    programs,
)
from crypto_pipeline.ops.supervision.restarts import Restarter
from crypto_pipeline.ops.supervision.shutdown import end_descendants, take_down
from crypto_pipeline.ops.supervision.signals import StopRequested, StopSignals
from crypto_pipeline.ops.supervision.start.database import database_urls
from crypto_pipeline.ops.supervision.start.ingest_start import IngestStart
from crypto_pipeline.ops.supervision.start.worker import StartProgress, StartWorker
from crypto_pipeline.settings import Settings, command
from crypto_pipeline.store.database.errors import StoreError

_TICK = 0.5
_HEALTH_EVERY = 5.0
#: After a restart the other programs wait for ingest at most this long, in seconds on a machine that is not busy.
_INGEST_FIRST = 10.0
#: Seconds until a venue that does not answer is reported: the replay exchange needs some time to start.
_VENUE_TIMEOUT = 20.0

Say = Callable[[str], None]


class Guardian:
    """Supervises one data directory: ``run`` does all of it, ``stop`` ends it from another thread."""

    def __init__(self, settings: Settings, say: Say) -> None:
        self.settings = settings
        self.places = Places(settings.data_dir)
        self.state: UpState | None = None
        self._say = say
        self._lock = UpLock(self.places)
        self._programs: list[SupervisedProgram] = []
        self._environment: dict[str, str] = {}
        self._daemon: subprocess.Popen[bytes] | None = None
        self._worker: StartWorker | None = None
        #: Set when everything must be stopped.
        self._stop = threading.Event()
        self._hurry = False
        self._last_health = 0.0
        #: Whether a deployment exists already, so that ingest has work at once.
        self._has_run = self.places.has_run()
        self._disk: DiskWatch | None = None
        self._ingest_start: IngestStart | None = None
        self._reported_notes: dict[str, str] = {}

    # Start

    def run(self, on_healthy: Callable[[UpState], None]) -> None:
        """Start all programs, call ``on_healthy`` once, supervise until ``stop`` or a signal, then stop all programs.

        Raises OpsError when something keeps the start from succeeding.
        """
        self.places.make()
        if not self._lock.take():
            raise already_running(self.places)
        try:
            self._prepare()
            with StopSignals(self._on_signal):
                processes.adopt_orphans()
                try:
                    self._bring_up()
                    self._await_health()
                    if not self._stop.is_set():
                        self._phase("healthy")
                        on_healthy(self._require_state)
                    self._supervise()
                finally:
                    self._take_down()
        finally:
            self._lock.release()

    def stop(self) -> None:
        """Make ``run`` stop all programs and return."""
        self._stop.set()

    @property
    def _require_state(self) -> UpState:
        if self.state is None:
            raise RuntimeError("the guardian has not prepared yet")
        return self.state

    @cached_property
    def _restarter(self) -> Restarter:
        return Restarter(self._client(), self.places, self._say, {program.name for program in self._programs})

    def _prepare(self) -> None:
        """Check ports, settings and locks, and write the configuration, before anything is started."""
        settings = self.settings
        self._clear_leftovers()  # first, because they may hold the ports
        ports = claim_ports(settings)
        database_url, dagster_url = database_urls(self.settings)
        self.settings = settings = settings.model_copy(
            update={f"{name.replace('-', '_')}_port": port for name, port in ports.items()}
        )
        self._programs = programs(settings, self.places, ports)
        chosen = given_settings(settings)
        self._environment = environment(settings, self.places, chosen, dagster_url)
        write_dagster_home(self.places, handed_over=settings.celery_broker_url is not None)
        urls = {name: base_url(settings.host, port) for name, port in ports.items()}
        socket = str(self.places.socket("supervisor"))
        self.state = UpState(
            os.getpid(), "starting", time.time(), urls, ports, chosen, settings.database_url is not None, socket
        )
        self.state.write(self.places)
        replay_clock(settings, self.places)  # begun before the code server defines partitions of days
        self._database_url = database_url
        self._disk = DiskWatch(settings, database_url, self._say)
        self._heartbeat = SupervisorHeartbeat(database_url, self.places.deployment())

    def _clear_leftovers(self) -> None:
        """End processes that a killed supervisor of this data directory left behind."""
        if left := processes.marked(self.places.data_dir, self.places.deployment()):
            self._say(f"ending {len(left)} processes that an earlier run left behind")
            processes.end(left, signal.SIGINT, 15.0)

    def _bring_up(self) -> None:
        """Start supervisord and, once the database is migrated, the programs that need it."""
        self._end_worker()
        self._worker = StartWorker(self._environment)
        for program in self._programs:
            self.places.socket(program.name).unlink(missing_ok=True)
        supervisord.write_config(self.places, self._programs, first_only=self._has_run)
        self._daemon = supervisord.spawn(self.places, self._environment)
        self.state = replace(self._require_state, supervisord_pid=self._daemon.pid)
        self.state.write(self.places)
        self._await_supervisord()
        if self.settings.database_url is None:
            self._await_postgres()
        client = self._client()

        self._ingest_start = ingest = IngestStart(self.settings, self._database_url, self._programs)

        def start(*, first: bool) -> None:
            for program in self._programs:
                if program.first is first and program.venue is None:
                    client.start(program.name)
            ingest.start(client)

        self._worker.make_ready(self._say, lambda: start(first=True), self._pause)
        if self._has_run:
            self._await_ingest()
        start(first=False)
        self._has_run = True

    def _await_ingest(self) -> None:
        """Wait a limited time for ingest, so that the imports of other programs do not delay live bars."""
        deadline = time.monotonic() + _INGEST_FIRST * health.crowding()
        while time.monotonic() < deadline:
            found = health.ask_ingest(self.settings, self._client().processes())
            if not found:
                return
            self._pause(0.2)

    def _client(self) -> supervisord.Supervisord:
        return supervisord.Supervisord(self._require_state.supervisor_socket)

    def _await_supervisord(self) -> None:
        client = self._client()
        while not client.reachable():
            if self._daemon is not None and self._daemon.poll() is not None:
                raise OpsError(f"supervisord did not start: {supervisord.last_message(self.places, 'supervisord')}")
            self._pause(0.05)

    def _await_postgres(self) -> None:
        from crypto_pipeline.store.embedded.server import EmbeddedServer

        server = EmbeddedServer(self.settings.data_dir)
        while not server.is_alive():
            if any(info.name == POSTGRES and info.state == "FATAL" for info in self._client().processes()):
                raise OpsError(f"PostgreSQL does not start: {supervisord.tail(self.places, POSTGRES)}")
            self._pause(0.1)

    def _await_health(self) -> None:
        """Wait until every program answers. A program that stays unhealthy is reported, and supervised as well."""
        shown: dict[str, str] = {}
        deadline = time.monotonic() + _VENUE_TIMEOUT
        while not self._stop.is_set():
            self._check_disk()
            if self._stop.is_set():
                return
            found = self._look()
            if found.healthy:
                return
            self._restarter.check(found)
            for name, trouble in found.troubles.items():
                away = name == health.VENUE and time.monotonic() > deadline
                if ("cannot load" in trouble or away) and shown.get(name) != trouble:
                    shown[name] = trouble
                    log = "" if name == health.VENUE else f" (log: {self.places.logs / name}.log)"
                    self._say(f"{name}: {trouble}{log}")
            self._stop.wait(0.3)

    def progress(self) -> Iterator[StartProgress | str]:
        """How far the first backfill is, each second until the database is complete or everything is to stop."""
        if self._worker is not None:
            try:
                yield from self._worker.progress(self._pause)
            except StopRequested:
                return
            finally:  # also where nobody asks for more
                self._end_worker()

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    # Supervision

    def _supervise(self) -> None:
        release_memory_regularly()
        while not self._stop.wait(_TICK):
            self._check_disk()
            if self._stop.is_set():  # while waiting for room
                return
            self._keep_supervisord()
            if time.monotonic() - self._last_health >= _HEALTH_EVERY:
                self._last_health = time.monotonic()
                found = self._look()
                self._restarter.check(found)
                self._report_notes(found.notes)
                if self._ingest_start is not None:
                    self._ingest_start.look(self._client())

    def _look(self) -> health.HealthReport:
        found = health.ask(self.settings, self.places, self._require_state)
        self._heartbeat.write(found, self._require_state.phase)
        return found

    def _report_notes(self, notes: dict[str, str]) -> None:
        """Report notes that are new."""
        for name, note in notes.items():
            if self._reported_notes.get(name) != note:
                self._say(f"{name} {note}")
        self._reported_notes = notes

    def _keep_supervisord(self) -> None:
        """Reap ended descendants; when supervisord itself has ended, end what it left and start all programs again."""
        if self._daemon is None:
            return
        processes.reap(keep=[self._daemon.pid])
        if self._daemon.poll() is None:
            return
        self._say("supervisord died: starting everything again")
        self._start_again()

    def _start_again(self) -> None:
        """Start all programs once more; after a failure the next check of supervisord retries."""
        assert self._daemon is not None
        self._phase("restarting")
        end_descendants(self._daemon, timeout=5.0)
        try:
            self._bring_up()
            self._end_worker()  # nobody follows the progress of a later start
            self._phase("healthy")
        except (OpsError, StoreError, OSError) as error:
            self._say(f"cannot start again yet: {error}")
            end_descendants(self._daemon, timeout=5.0)
            self._pause(1.0)

    def _check_disk(self) -> None:
        """When the disk is nearly full, stop all programs while that is still possible, and wait for free space."""
        if self._disk is None or not self._disk.look():
            return
        self._phase("waiting for room")
        assert self._daemon is not None
        take_down(self._client(), self._daemon, self._programs, self._say, lambda: self._hurry)
        if self._disk.wait(self._stop.wait):
            self._start_again()

    # Stop

    def _take_down(self) -> None:
        if self._daemon is None:
            return
        self._phase("stopping")
        self._end_worker()
        self._heartbeat.forget()
        self._say("stopping …")
        if self._daemon.poll() is None:
            take_down(self._client(), self._daemon, self._programs, self._say, lambda: self._hurry)
        else:  # nothing runs while the guardian waits for free space
            end_descendants(self._daemon, timeout=5.0)
        self.places.clear_sockets()
        self._phase("stopped")

    # State and signals

    def _phase(self, phase: str) -> None:
        self.state = replace(self._require_state, phase=phase)
        try:
            self.state.write(self.places)
        except OSError as error:
            if error.errno not in disk_space.FULL:
                raise
            self._say(f"cannot write {self.places.state}: {error.strerror}")

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise StopRequested

    def _on_signal(self) -> None:
        # The second Ctrl-C stops at once.
        self._hurry = self._stop.is_set()
        self._stop.set()


def already_running(places: Places) -> OpsError:
    """The error that names the supervisor of this data directory."""
    state = running_state(places)
    who = f"process {state.pid}, {state.urls.get('ui', 'starting')}" if state else "another process"
    return OpsError(
        f"already running on {places.data_dir}: {who}; stop it with "
        f"`{command('down', '--data-dir', places.data_dir)}` or give another --data-dir"
    )
