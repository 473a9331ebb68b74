"""Call a function in a new process, which has computed nothing before, so no module remembers anything.

The process is this module, run as a program. Function and arguments come in through its standard input, the result goes
out through its standard output, both pickled: nothing but the two processes reads them.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds after which a process that does not end is stopped.
TIMEOUT = 900.0


class FreshProcessError(RuntimeError):
    """The process ended without a result; the message has its last lines."""


def in_fresh_process(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """``function(*args, **kwargs)`` in a new Python process. The function must be importable, all values picklable.

    Raises FreshProcessError when the process fails, or takes longer than TIMEOUT.
    """
    # What can be imported here can be imported there.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", __name__]
    handed = pickle.dumps((function, args, kwargs))
    try:
        done = subprocess.run(command, input=handed, capture_output=True, env=environment, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise FreshProcessError(f"{function.__qualname__} took longer than {TIMEOUT:.0f} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-5:]
        raise FreshProcessError(f"{function.__qualname__} ended with code {done.returncode}: " + "\n".join(said))
    result: R = pickle.loads(done.stdout)  # noqa: S301  (our own process wrote it)
    return result


def main() -> None:
    """Read a call, make it, write its result."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed does not get into the result
    function, args, kwargs = pickle.load(sys.stdin.buffer)  # noqa: S301  (our own process wrote it)
    with answer:
        pickle.dump(function(*args, **kwargs), answer)


if __name__ == "__main__":
    main()
