"""What a start needs the whole store for, in a process of its own: the database made ready, and the first minutes.

The supervising process runs for months, and would keep in memory what its first minute needed. So this process imports
the store while PostgreSQL starts, makes the databases ready, says how far the first backfill is, and ends. Both talk in
lines of JSON over its input and output.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.store.database.errors import StoreError

#: What the process is asked for.
PREPARE, FOLLOW = "prepare", "follow"
_ERRORS = {error.__name__: error for error in (OpsError, StoreError)}


@dataclass(frozen=True, slots=True)
class StartProgress:
    """How far the database is from complete. ``timeframes``: by name, bars ``present``, ``explained``, ``expected``.

    ``checks_passed`` of ``checks_wanted`` are those of stored data; ``checks_said`` is a phrase about all checks.
    """

    timeframes: dict[str, dict[str, int]]
    accounted: int
    expected: int
    checks_passed: int
    checks_wanted: int
    complete: bool
    checks_said: str


class StartWorker:
    """The process, as its parent sees it. ``environment``: of every program, with the settings."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "crypto_pipeline.ops.start_program"]
        self._process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._received = b""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def make_ready(
        self, say: Callable[[str], None], migrated: Callable[[], None], pause: Callable[[float], None]
    ) -> None:
        """Create, migrate and fill what a start needs: see ``database.make_ready``.

        ``pause`` waits so many seconds, and raises to stop. Raises OpsError and StoreError as the work does.
        """
        self._send(PREPARE)
        while (told := self._receive(pause)) is not None:
            if "say" in told:
                say(told["say"])
            elif "migrated" in told:
                migrated()
            elif "error" in told:
                raise _ERRORS[told["kind"]](told["error"])
            else:
                return
        raise OpsError("the process that makes the database ready has ended: its last message is above")

    def progress(self, pause: Callable[[float], None]) -> Iterator[StartProgress | str]:
        """How far the database is, each second until it is complete; a text where the database does not answer."""
        self._send(FOLLOW)
        while (told := self._receive(pause)) is not None:
            if "error" in told:
                yield str(told["error"])
                continue
            seen = StartProgress(**told)
            yield seen
            if seen.complete:
                return

    def close(self) -> None:
        """End the process, whatever it does: all that it writes are transactions that may be repeated."""
        self._process.kill()
        self._process.wait()
        self._input.close()
        self._output.close()

    def _send(self, word: str) -> None:
        try:
            self._input.write(word.encode() + b"\n")
        except BrokenPipeError:
            raise OpsError("the process that makes the database ready has ended: its last message is above") from None

    def _receive(self, pause: Callable[[float], None]) -> dict[str, Any] | None:
        """The next message; None when the process has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if not selector.select(0.2):
                    pause(0)
                    continue
                if not (more := os.read(self._output.fileno(), 65536)):
                    return None
                self._received += more
        line, _, self._received = self._received.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message
