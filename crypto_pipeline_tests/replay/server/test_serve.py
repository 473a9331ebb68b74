"""The exchange as a program: one line with its URL, a clean end, clear refusals."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from crypto_pipeline.replay import ReplayError, serve

CODE = "from crypto_pipeline.replay import serve; serve(port=0, instruments='2', seed=5)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_told_to_stop(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout is not None
        assert one.stderr is not None
        line = one.stdout.readline()
        match = re.fullmatch(
            r"replay exchange: (http://127\.0\.0\.1:\d+) \(generated market, seed 5, 2 symbols\)\n", line
        )
        assert match, line
        # An open connection and a hanging request must not hold up the end.
        json_type = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{match[1]}/_control/faults", b'{"kind": "hang"}', json_type, method="POST")
        with urllib.request.urlopen(request) as answer:
            assert json.loads(answer.read()) == {"added": [1]}
        host, port = match[1].removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as hanging:
            hanging.sendall(b"GET /api/v3/time HTTP/1.1\r\nHost: localhost\r\n\r\n")
            one.send_signal(number)
            assert one.wait(10) == 0
        assert one.stderr.read() == ""


def test_refusals_name_the_value(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ReplayError, match=f"port {port} on 127.0.0.1 is in use"):
            serve(port=port)
    with pytest.raises(ReplayError, match="nowhere"):
        serve(source=str(tmp_path / "nowhere"), port=0)
    with pytest.raises(ReplayError, match=r"cannot read the fault script .*none\.json"):
        serve(port=0, faults_file=tmp_path / "none.json")
    with pytest.raises(ReplayError, match="speed -1"):
        serve(port=0, speed=-1)
