"""Programs that supervisord forks from itself: they begin as a new process would, and end like one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crypto_pipeline.ops.host import processes
from crypto_pipeline.ops.supervision.forked_programs import Forks, ModuleCommand
from crypto_pipeline.ops.supervision.supervisord import Supervisord
from crypto_pipeline_tests.builders.deployment import await_, crowding

#: Tells what it sees, waits for a signal, and ends with the code of its first argument.
PROGRAM = """
import json, os, signal, sys, threading, time
import atexit
if __name__ == "__main__":
    import polars
    handlers = [int(n) for n in signal.valid_signals() if callable(signal.getsignal(n)) and n != signal.SIGINT]
    total = polars.DataFrame({"a": [1, 2]}).select(polars.col("a").sum()).item()
    seen = {
        "argv": sys.argv, "main": sys.modules["__main__"].__spec__.name, "nice": os.nice(0), "parent": os.getppid(),
        "name": open("/proc/self/comm").read().strip(), "handlers": handlers, "group": os.getpgrp() == os.getpid(),
        "dagster": "dagster" in sys.modules, "sum": total,
        "given": os.environ.get("GIVEN"), "files": sorted(os.listdir("/proc/self/fd"))[:4],
    }
    atexit.register(lambda: print("left", flush=True))
    print(json.dumps(seen), flush=True)
    if sys.argv[1] == "raise":
        raise ValueError("planted")
    if sys.argv[1] == "wait":
        signal.pause()
    sys.exit(int(sys.argv[1]))
"""


class Supervised:
    """supervisord with programs that run the module above with these arguments, once each."""

    def __init__(self, folder: Path, arguments: dict[str, str], broken: bool = False) -> None:
        self.folder = folder
        (folder / "told_program.py").write_text(PROGRAM)
        lines = ["[unix_http_server]", f"file = {folder}/s", "[supervisord]", "nodaemon = true", "silent = true"]
        lines += [f"logfile = {folder}/log", f"pidfile = {folder}/pid"]
        lines += [*(["user = root"] if os.geteuid() == 0 else []), "[rpcinterface:supervisor]"]
        lines += ["supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface"]
        for name, argument in arguments.items():
            command = f"setpriv --pdeathsig KILL nice -n 3 {sys.executable} -m told_program {argument}"
            lines += [f"[program:{name}]", f"command = {command}", "autorestart = false", "startsecs = 0"]
            lines += ["startretries = 0", "redirect_stderr = true", f"stdout_logfile = {folder}/{name}.out"]
        (folder / "conf").write_text("\n".join(lines) + "\n")
        begin = "from crypto_pipeline.ops.supervision import supervisor_program as program, forked_programs as forked\n"
        if broken:
            begin += "program.Forks = lambda: forked.Forks(('json', 'no_such_module'))\n"
        command = [sys.executable, "-c", f"{begin}program.main()", "-c", str(folder / "conf")]
        environment = {**os.environ, "PYTHONPATH": str(folder), "GIVEN": "yes"}
        with (folder / "out").open("ab") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    def seen(self, name: str) -> dict[str, Any]:
        """What the program told, once it did."""
        out = self.folder / f"{name}.out"
        await_(lambda: out.exists() and "\n" in out.read_text(), 60 * crowding())
        told: dict[str, Any] = json.loads(out.read_text().splitlines()[0])
        return told

    def output(self, name: str) -> str:
        """All that it has written."""
        return (self.folder / f"{name}.out").read_text()

    def ended(self, name: str) -> str:
        """What supervisord says of it once it has ended."""
        client = Supervisord(f"{self.folder}/s")
        states = lambda: {info.name: info for info in client.processes()}  # noqa: E731
        await_(lambda: states()[name].pid is None, 20 * crowding())
        return states()[name].state


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    programs = {"waiting": "wait", "good": "0", "bad": "3", "raising": "raise", "tied": "wait"}
    made = Supervised(tmp_path_factory.mktemp("forked"), programs)
    yield made
    made.process.kill()
    made.process.wait()


def test_a_program_begins_as_a_new_process_would(supervised: Supervised) -> None:
    seen = supervised.seen("waiting")
    assert seen["parent"] == supervised.process.pid
    assert seen["argv"][1:] == ["wait"]
    assert seen["main"] == "told_program"
    assert seen["nice"] == os.nice(0) + 3
    assert seen["name"] == "waiting"
    assert seen["handlers"] == []
    assert seen["group"]
    assert seen["given"] == "yes"
    assert seen["dagster"], "it must share what supervisord imported"
    assert seen["sum"] == 3
    assert seen["files"][:3] == ["0", "1", "2"]


def test_a_program_ends_as_a_process_would(supervised: Supervised) -> None:
    for name, word in (("good", "left"), ("bad", "left"), ("raising", "ValueError: planted")):
        supervised.seen(name)
        assert supervised.ended(name) == "EXITED"
        assert word in supervised.output(name)
        assert "left" in supervised.output(name), "what was registered for the end was not called"
    log = (supervised.folder / "log").read_text()
    assert "exited: good (exit status 0" in log
    assert "exited: bad (exit status 3" in log
    assert "exited: raising (exit status 1" in log


def test_a_signal_ends_a_program_that_does_not_handle_it(supervised: Supervised) -> None:
    supervised.seen("waiting")
    Supervisord(f"{supervised.folder}/s").stop("waiting")
    assert supervised.ended("waiting") == "STOPPED"
    assert "terminated by SIGTERM" in (supervised.folder / "log").read_text()


def test_programs_end_together_with_a_killed_supervisord(tmp_path: Path) -> None:
    made = Supervised(tmp_path, {"tied": "wait"}, broken=True)  # executed: setpriv ties it
    tied = Supervised.seen(made, "tied")
    assert not tied["dagster"], "where the imports fail a program must be executed"
    assert "no_such_module" in (tmp_path / "out").read_text()
    made.process.kill()
    made.process.wait()


def test_a_forked_program_ends_together_with_a_killed_supervisord(supervised: Supervised) -> None:
    supervised.seen("tied")
    pid = next(info.pid for info in Supervisord(f"{supervised.folder}/s").processes() if info.name == "tied")
    assert pid is not None
    os.kill(supervised.process.pid, signal.SIGKILL)
    await_(lambda: not processes.is_alive(pid), 20 * crowding())


@pytest.mark.parametrize(
    ("command", "module", "arguments", "niceness", "tied"),
    [
        ([sys.executable, "-m", "a.b", "x", "-m"], "a.b", ("x", "-m"), 0, False),
        (["/usr/bin/nice", "-n", "10", sys.executable, "-m", "a"], "a", (), 10, False),
        (["/usr/bin/setpriv", "--pdeathsig", "KILL", "nice", "-n", "5", sys.executable, "-m", "a"], "a", (), 5, True),
    ],
)
def test_commands_of_modules(
    command: list[str], module: str, arguments: tuple[str, ...], niceness: int, tied: bool
) -> None:
    assert ModuleCommand.parse(command) == ModuleCommand(module, arguments, niceness, tied)


@pytest.mark.parametrize(
    "command", [["sh", "-c", "true"], ["/other/python", "-m", "a"], [sys.executable, "a.py"], [sys.executable, "-m"]]
)
def test_other_commands_are_executed(command: list[str]) -> None:
    assert ModuleCommand.parse(command) is None
    forks = Forks(())
    forks.prepare()
    forks.run(command, {})  # returns: the caller executes it
