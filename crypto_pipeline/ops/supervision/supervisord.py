"""supervisord: its generated configuration, its start, and its commands over a private unix socket."""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host import processes
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.supervision.programs import SupervisedProgram, tied_to_parent

#: Exceptions of a call while supervisord is down or stopping.
_SHUTTING_DOWN = 6
_AWAY = (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError)


@dataclass(frozen=True)
class ProcessInfo:
    """One supervised process as supervisord sees it."""

    name: str
    state: str
    pid: int | None
    started_at: float | None
    detail: str

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self.state in ("RUNNING", "STARTING")


class Supervisord:
    """Client of one supervisord. Every call may raise one of the errors above while it is down; see ``reachable``."""

    def __init__(self, socket: str) -> None:
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, serverurl=f"unix://{socket}")
        self._server = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)

    def _call(self, name: str, *arguments: Any) -> Any:
        try:
            return getattr(self._server.supervisor, name)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == _SHUTTING_DOWN:
                raise ConnectionError("supervisord is stopping") from None
            raise
        except _AWAY as error:
            # The transport keeps a broken connection; drop it so that the next call connects anew.
            with contextlib.suppress(Exception):
                self._server("close")()
            raise ConnectionError(f"supervisord does not answer: {error}") from None

    def reachable(self) -> bool:
        """Whether it answers and is not stopping."""
        try:
            return bool(self._call("getState")["statecode"] == 1)
        except ConnectionError:
            return False

    def processes(self) -> list[ProcessInfo]:
        """Every program with state and process id."""
        return [
            ProcessInfo(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"] or None,
                started_at=float(info["start"]) if info["pid"] else None,
                detail=info["spawnerr"] or info["description"],
            )
            for info in self._call("getAllProcessInfo")
        ]

    def start(self, name: str) -> None:
        """Start a program without waiting; no effect if it runs already."""
        with contextlib.suppress(xmlrpc.client.Fault):
            self._call("startProcess", name, False)

    def stop(self, name: str) -> None:
        """Begin to stop a program; no effect if it is stopped already."""
        with contextlib.suppress(xmlrpc.client.Fault):
            self._call("stopProcess", name, False)

    def kill(self, name: str) -> None:
        """SIGKILL a program that no longer answers; supervisord starts it again."""
        with contextlib.suppress(xmlrpc.client.Fault):
            self._call("signalProcess", name, "KILL")

    def shutdown(self) -> None:
        """Stop everything and exit."""
        self._call("shutdown")

    def await_stopped(self, names: Sequence[str], timeout: float) -> bool:
        """Wait until all programs in ``names`` are stopped; False after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            alive = [info for info in self.processes() if info.name in names and info.pid]
            if not alive:
                return True
            time.sleep(0.1)
        return False


def write_config(places: Places, wanted: Sequence[SupervisedProgram], *, first_only: bool = False) -> None:
    """Write the configuration file.

    It contains no secret: secrets are in the environment only. With ``first_only``, only the programs marked as
    first are started by supervisord itself; the guardian starts the others by a command.
    """
    socket = str(places.socket("supervisor"))
    lines = [
        "[unix_http_server]",
        f"file = {_escape(socket)}",
        "chmod = 0700",
        "[supervisord]",
        "nodaemon = true",
        "silent = true",
        "nocleanup = true",
        "loglevel = info",
        "logfile = %(here)s/logs/supervisord.log",
        "logfile_maxbytes = 5MB",
        "logfile_backups = 1",
        "pidfile = %(here)s/supervisord.pid",
        f"umask = {0o077:03o}",
        # Low minimums: supervisord would refuse to start where the hard limits are lower.
        "minfds = 256",
        "minprocs = 1",
        *(["user = root"] if os.geteuid() == 0 else []),
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
        # For people: `supervisorctl -c run/supervisord.conf restart api`.
        "[supervisorctl]",
        f"serverurl = unix://{_escape(socket)}",
    ]
    for program in wanted:
        lines += _section(program, autostart=not program.needs_database and (program.first or not first_only))
    places.supervisord_conf.write_text("\n".join(lines) + "\n")
    places.supervisord_conf.chmod(0o600)


def _section(program: SupervisedProgram, *, autostart: bool) -> list[str]:
    group = str(program.stop_group).lower()
    return [
        f"[program:{program.name}]",
        f"command = {_escape(shlex.join(tied_to_parent(program)))}",
        "directory = %(here)s",
        f"autostart = {str(autostart).lower()}",
        "autorestart = true",
        # A program that runs for a second counts as started; after three failures our own loop restarts it.
        "startsecs = 1",
        "startretries = 3",
        f"stopsignal = {program.stop_signal}",
        f"stopwaitsecs = {program.stop_wait}",
        f"stopasgroup = {group}",
        f"killasgroup = {group}",
        "redirect_stderr = true",
        f"stdout_logfile = %(here)s/logs/{program.name}.log",
        "stdout_logfile_maxbytes = 10MB",
        "stdout_logfile_backups = 2",
    ]


def _escape(value: str) -> str:
    if any(mark in value for mark in (" ;", " #", "\n")):
        raise OpsError(f"the path in {value!r} cannot be used: choose one without ' ;', ' #' or line breaks")
    return value.replace("%", "%%")


def spawn(places: Places, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start supervisord in a session of its own: Ctrl-C in the terminal then reaches only the supervising process."""

    def tie() -> None:
        processes.die_with_parent(signal.SIGTERM)

    with (places.logs / "supervisord.out").open("ab") as output:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "crypto_pipeline.ops.supervision.supervisor_program",
                "-c",
                str(places.supervisord_conf),
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=places.run,
            preexec_fn=tie,
        )


def tail(places: Places, name: str, lines: int = 3) -> str:
    """Last lines of a program's log, for messages."""
    try:
        with (places.logs / f"{name}.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 8_000))
            text = log.read().decode(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return ""
    return " | ".join(line.strip() for line in text[-lines:])


def last_message(places: Places, name: str) -> str:
    """The last line that a program wrote to its error output, or else to its log."""
    output = places.logs / f"{name}.out"
    lines = output.read_text(errors="replace").strip().splitlines() if output.exists() else []
    return lines[-1] if lines else tail(places, name, 1) or "it left no message"
