"""``doctor``: a line for each thing, what to do where something is missing, and an exit code for scripts."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from crypto_pipeline.ops.doctor import packages
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]


def test_it_says_what_is_there_and_what_to_do(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "COMPILED", {"psycopg": "one is enough here"})
    free = {"UI_PORT": "0", "REPLAY_PORT": "0", "DATA_DIR": str(tmp_path / "data")}
    code, out, err = run("doctor", **free, API_PORT="0")
    assert (code, err) == (0, "")
    assert out.startswith("ok      python: Python 3.")
    assert out.splitlines()[-1] == "ready: `crypto-pipeline up` starts everything"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, out, _ = run("doctor", "--offline", "--json", **free, API_PORT=port)
    answer = json.loads(out)
    assert code == answer["exit_code"] == 1
    [bad] = [one for one in answer["requirements"] if one["status"] == "bad"]
    assert (bad["name"], "--api-port N" in bad["fix"]) == ("ports", True)
    code, _, err = run("doctor", VENUE="nowhere")
    assert (code, err.count("\n")) == (2, 1)
