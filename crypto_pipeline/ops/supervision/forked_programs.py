"""Programs in Python that supervisord forks from itself, so that all of them share what they have imported.

A new interpreter for each program imports Dagster, Polars and the rest anew: seconds of processor time at every start,
and a copy of every module in the memory of each. Here supervisord imports them once, at the first start of such a
program, and a program begins as a copy of supervisord that runs the module of its command. The pages that nobody
changes stay shared.

This is safe because supervisord has one thread, and what it imports starts none, opens no connection and evaluates no
Polars expression. A command that is not a module of this interpreter is executed as before, and so is every command
where the imports fail: the program then shows the error itself.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import os
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from crypto_pipeline.ops.host.processes import die_with_parent

#: What the programs import. The first keeps pandas out and must be imported before anything that imports ADBC.
SHARED_IMPORTS = (
    "crypto_pipeline.ops.without_pandas",
    "crypto_pipeline.definitions",
    "crypto_pipeline.store.every_part",
    "crypto_pipeline.ops.dagster_instance.process",
    "crypto_pipeline.ops.dagster_instance.storage",
    "crypto_pipeline.ops.alerting.notifier",
    "crypto_pipeline.cli.ingest_program",
    "crypto_pipeline.cli.app",
    "crypto_pipeline.api.serve",
    "dagster._cli",
    "dagster._core.execution.api",
    "dagster._daemon.cli",
    "dagster._grpc.server",
    "dagster_webserver.cli",
)
_PR_SET_NAME = 15


@dataclass(frozen=True, slots=True)
class ModuleCommand:
    """A command that runs a module of this interpreter: ``[setpriv …] [nice -n N] python -m MODULE ARGUMENTS``."""

    module: str
    arguments: tuple[str, ...]
    niceness: int = 0
    dies_with_parent: bool = False

    @classmethod
    def parse(cls, command: Sequence[str]) -> ModuleCommand | None:
        """The module command in ``command``; None where it is another kind of command."""
        rest, tied, niceness = list(command), False, 0
        if Path(rest[0]).name == "setpriv" and rest[1:3] == ["--pdeathsig", "KILL"]:
            rest, tied = rest[3:], True
        if Path(rest[0]).name == "nice" and rest[1:2] == ["-n"]:
            rest, niceness = rest[3:], int(rest[2])
        if len(rest) < 3 or rest[0] != sys.executable or rest[1] != "-m":
            return None
        return cls(rest[2], tuple(rest[3:]), niceness, tied)


class Forks:
    """What supervisord needs to run programs as copies of itself: ``prepare`` before a fork, ``run`` in the copy."""

    def __init__(self, imports: Sequence[str] = SHARED_IMPORTS) -> None:
        self._imports, self._supervisor = tuple(imports), os.getpid()
        #: None until the imports were tried.
        self.possible: bool | None = None

    def prepare(self) -> None:
        """Import what the programs share, once. A module that cannot be imported makes forks impossible."""
        if self.possible is not None:
            return
        try:
            for name in self._imports:
                import_module(name)
            self.possible = threading.active_count() == 1
        except Exception:
            traceback.print_exc()
            self.possible = False
        # Objects that the collector leaves alone stay in shared pages.
        gc.collect()
        gc.freeze()

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Run the module of ``command`` in this process, which is a new copy, and end the process.

        Returns at once where the command must be executed instead.
        """
        found = ModuleCommand.parse(command) if self.possible else None
        if found is None:
            return
        if found.dies_with_parent:
            die_with_parent(signal.SIGKILL)
            if os.getppid() != self._supervisor:  # it ended before the kernel knew
                os._exit(1)
        if found.niceness:
            os.nice(found.niceness)
        os.environ.clear()
        os.environ.update(environment)
        _as_after_a_start(environment.get("SUPERVISOR_PROCESS_NAME", found.module))
        _run_module(found)


def _as_after_a_start(name: str) -> None:
    """Undo what a new process would not have of supervisord: handlers of signals and open sockets; take ``name``."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from supervisor.medusa import asyncore_25

    # Their numbers are closed already and will be those of other files.
    for channel in list(asyncore_25.socket_map.values()):
        if (held := getattr(channel, "socket", None)) is not None:
            held.detach()
    asyncore_25.socket_map.clear()
    # `top` and `ps -e` show this name.
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def _run_module(command: ModuleCommand) -> NoReturn:
    """Run it as ``python -m`` would, and end the process as an interpreter ends, without taking supervisord apart."""
    code = 1
    try:
        sys.argv = [command.module, *command.arguments]
        try:
            runpy.run_module(command.module, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = _exit_code(end)
        except BaseException:
            traceback.print_exc()
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as an interpreter does at its end
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _exit_code(end: SystemExit) -> int:
    code: Any = end.code
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1
