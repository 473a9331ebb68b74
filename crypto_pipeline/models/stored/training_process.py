"""Training in a process of its own, which has room of its own and leaves nothing behind.

LightGBM's threads do not survive a fork, and what training takes is not given back to a process that goes on: so each
training is a new Python process, started, not forked. It reads the training set itself and stores the model itself, in
one transaction. Killed at any moment it has stored all of it or nothing.

The process is this module, run as a program: what it is to do comes in through its standard input, pickled; each line
of its standard output is a JSON object, ``progress`` or ``outcome``.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from threading import Thread
from typing import Any, TypeAlias

#: Is told which step is done, and the share of all.
Told: TypeAlias = Callable[[str, float], None]
#: Does the work of an order, and gives its outcome as JSON values. A process finds it by module and name.
Work: TypeAlias = Callable[[Any, Told], dict[str, Any]]
#: Address space for data that a training may take, bytes: above it, it fails and says so.
MEMORY = 4 * 2**30
#: Lines of a failed process that are told.
_LAST_LINES = 5


class TrainingFailedError(RuntimeError):
    """The process of a training ended without an outcome; the message has its last lines."""


def run(work: Work, order: Any, progress: Told) -> dict[str, Any]:
    """Call ``work`` with ``order`` in a new process and wait for its outcome. Raises TrainingFailedError."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "POLARS_MAX_THREADS": os.environ.get("POLARS_MAX_THREADS", "2"),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment,
    )  # fmt: skip
    with process:
        try:
            return _talk(process, (work, order), progress)
        except BaseException:
            process.kill()
            raise


def _talk(process: subprocess.Popen[bytes], order: tuple[Work, Any], progress: Told) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    errors: list[bytes] = []
    reader = Thread(target=lambda: errors.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        with process.stdin as pipe:
            pickle.dump(order, pipe)
    except BrokenPipeError:
        pass  # it has ended: its last lines say why
    outcome: dict[str, Any] | None = None
    for line in process.stdout:
        told = json.loads(line)
        if "outcome" in told:
            outcome = told["outcome"]
        else:
            progress(*told["progress"])
    code = process.wait()
    reader.join()
    if outcome is None:
        said = b"".join(errors).decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
        killed = "was killed" if code < 0 else "ended"
        raise TrainingFailedError(f"the process of the training {killed} (code {code}): " + "\n".join(said))
    return outcome


def main() -> None:
    """Read what to do, do it, tell the outcome."""
    _end_with_parent()
    _limit_memory()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever is printed does not get between the answers
    work, order = pickle.load(sys.stdin.buffer)  # noqa: S301  (our own process wrote it)

    def tell(**what: Any) -> None:
        answers.write(json.dumps(what) + "\n")

    tell(outcome=work(order, lambda step, share: tell(progress=(step, share))))


def _end_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG


def _limit_memory() -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    main()
