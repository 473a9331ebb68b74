"""What a start needs the whole store for, in a process of its own: the database made ready, and the first minutes.

The supervising process runs for months, and would keep in memory what its first minute needed. So this process imports
the store while PostgreSQL starts, makes the databases ready, says how far the first backfill is, and ends. Both talk in
lines of JSON over its input and output.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host import processes
from crypto_pipeline.store.database.errors import StoreError

_PREPARE, _FOLLOW = "prepare", "follow"
#: Seconds between two looks at the progress.
_LOOK_EVERY = 1.0
_ERRORS = {error.__name__: error for error in (OpsError, StoreError)}


@dataclass(frozen=True, slots=True)
class StartProgress:
    """How far the database is from complete. ``timeframes``: by name, bars ``present``, ``explained``, ``expected``."""

    timeframes: dict[str, dict[str, int]]
    accounted: int
    expected: int
    checks_passed: int
    checks_wanted: int
    complete: bool


class StartWorker:
    """The process, as its parent sees it. ``environment``: of every program, with the settings."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "crypto_pipeline.ops.supervision.start.worker"]
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
        self._send(_PREPARE)
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
        self._send(_FOLLOW)
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


def _tell(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _prepare() -> None:
    from crypto_pipeline.ops.host.paths import Places
    from crypto_pipeline.ops.supervision.start.database import make_ready
    from crypto_pipeline.settings import load_settings
    from crypto_pipeline.store.database_url import resolve_url

    settings = load_settings()
    try:
        make_ready(
            settings,
            Places(settings.data_dir),
            resolve_url(settings),
            dict(os.environ),
            lambda text: _tell(say=text),
            lambda: _tell(migrated=True),
        )
    except (OpsError, StoreError) as error:
        _tell(error=str(error), kind="OpsError" if isinstance(error, OpsError) else "StoreError")
    else:
        _tell(done=True)


def _follow() -> None:
    from crypto_pipeline.ops.status import Stored
    from crypto_pipeline.settings import load_settings
    from crypto_pipeline.store import Store
    from crypto_pipeline.store.database_url import resolve_url

    complete = False
    with Store(resolve_url(load_settings())) as store:
        while not complete:
            time.sleep(_LOOK_EVERY)
            try:
                seen = progress_of(Stored.read(store))
            except StoreError as error:
                _tell(error=str(error))
                continue
            complete = seen.complete
            _tell(**asdict(seen))


def progress_of(stored: Any) -> StartProgress:
    """What ``stored`` (a ``Stored``) says of the progress."""
    counted = ("present", "explained", "expected")
    bars = {name: {key: row[key] for key in counted} for name, row in stored.timeframes.items()}
    return StartProgress(
        bars, stored.accounted, stored.expected, stored.checks_passed, stored.checks_wanted, stored.complete
    )


def main() -> None:
    """Do what each line of the input asks for, until the input or the parent ends."""
    processes.die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    # Meanwhile PostgreSQL starts.
    import crypto_pipeline.ops.supervision.start.database
    import crypto_pipeline.ops.without_pandas
    import crypto_pipeline.store.every_part  # noqa: F401

    works = {_PREPARE: _prepare, _FOLLOW: _follow}
    for line in sys.stdin:
        works[line.strip()]()


if __name__ == "__main__":
    main()
