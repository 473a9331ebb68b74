"""Every command of the runbook is run on a real deployment: it is one that exists, and it answers."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crypto_pipeline.cli import main
from crypto_pipeline.ops.supervision.supervisord import Supervisord
from crypto_pipeline_tests.builders.deployment import Deployment

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"
#: They stop, replace and start the deployment: run last, in this order.
_STOPPING = ["down", "restore latest --replace", "up --detach"]


def commands() -> list[str]:
    """Every command of the page once, without the program's name, in the order of the page."""
    text = RUNBOOK.read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    inline = re.findall(r"`(crypto-pipeline [^`]+)`", text)
    found = [line.partition("#")[0].strip() for line in [*lines, *inline]]
    return list(dict.fromkeys(one.removeprefix("crypto-pipeline ") for one in found if one))


def test_every_line_is_a_command_of_ours() -> None:
    text = RUNBOOK.read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert all(line.startswith("crypto-pipeline ") for line in lines if line)
    assert set(_STOPPING) <= set(commands())


@pytest.fixture(scope="module")
def last(up: Deployment) -> Iterator[Deployment]:
    """The deployment of all these tests, which nobody uses afterwards."""
    yield up
    up.stop()


def _webserver_is_mended(up: Deployment, answer: Callable[[str], tuple[int, str]], patience: float = 120.0) -> None:
    """`check --fix` starts a program that was stopped, and says so; the check is ok again afterwards."""
    supervisord = Supervisord(up.state.supervisor_socket)
    supervisord.stop("webserver")
    until = time.monotonic() + patience
    while "started again: webserver" not in answer("check --fix")[1]:  # once the supervisor has seen it
        assert time.monotonic() < until, answer("check")
    up.await_healthy(patience)


def wrong(command: str, code: int, said: str) -> str:
    """What was wrong with an answer, empty when nothing was.

    Exit codes 1 and 2 are verdicts (something is bad, or not known), as long as the command itself is right.
    """
    fails = "Usage:" in said or "Traceback" in said or code not in (0, 1, 2) or not said.strip()
    return f"{command} → {code}: {said[-600:]}" if fails else ""


def test_every_command_of_the_runbook_answers(
    last: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    up = last
    monkeypatch.chdir(tmp_path)  # some write files where they are called
    for name in [name for name in os.environ if name.startswith("CRYPTO_PIPELINE_")]:
        monkeypatch.delenv(name)
    for name, value in (up.settings | {"CRYPTO_PIPELINE_DATA_DIR": str(up.data_dir)}).items():
        monkeypatch.setenv(name, value)

    def answer(command: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:  # in this process: imports are done once for all
            main(shlex.split(command))
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out + err

    _webserver_is_mended(up, answer)
    asking = [command for command in commands() if command not in (*_STOPPING, "up")]
    # a backup that can be restored is there before one is listed, verified or restored
    asking.sort(key=lambda command: command != "backup")
    assert [said for command in asking if (said := wrong(command, *answer(command)))] == []
    for command in _STOPPING:
        options = up.options if command == "up --detach" else ()
        done = up.command(*shlex.split(command), *options, timeout=120)
        assert wrong(command, done.returncode, done.stdout + done.stderr) == ""
        if command == "down":
            assert up.process is not None
            up.process.wait(60)
            up.process = None
    assert up.ask().healthy
