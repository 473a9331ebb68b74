"""A helper process that reads for a forked process, in which Polars' threads are missing.

In the child of a process that used Polars, joins, filters, sorts and Parquet files wait for ever for threads that only
the parent has. Questions that the table alone answers are read by ``store`` without Polars. All others (archived
months, flat bars, forming bars, prices, trades, gaps, coverage) are answered by a fresh interpreter with the same code.
It starts with the first such question, which takes some seconds at most, and ends with the process that asks.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import update_wrapper
from typing import IO, Any, Concatenate, ParamSpec, Protocol, TypeVar

import polars as pl

from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import StoreError

P = ParamSpec("P")

_SERVE = "from crypto_pipeline.reading.helper_program import serve; serve()"


class HasHelper(Protocol):
    """A reader with a helper process."""

    @property
    def helper(self) -> HelperProcess:
        """The process that reads where Polars' threads are missing."""


R = TypeVar("R", bound=HasHelper)


def needs_polars(method: Callable[Concatenate[R, P], pl.DataFrame]) -> Callable[Concatenate[R, P], pl.DataFrame]:
    """Mark a method of a reader that needs Polars' threads: the helper process does it where there are none."""

    def here_or_there(reader: R, /, *args: P.args, **kwargs: P.kwargs) -> pl.DataFrame:
        if fork_safety.without_polars():
            return reader.helper.ask(method.__name__, *args, **kwargs)
        return method(reader, *args, **kwargs)

    update_wrapper(here_or_there, method)
    return here_or_there


class HelperProcess:
    """The process, and the pipe to it. Thread-safe; started by the first question."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        fork_safety.renew_in_children(self)

    def after_fork(self) -> None:
        """In a forked child: start another process, and close this child's ends of the pipes to the parent's."""
        self._lock = threading.Lock()
        process, self._process = self._process, None
        if process is not None:
            fork_safety.abandon(process)
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                os.close(pipe.fileno())  # without flushing what the parent had begun to write

    def ask(self, method: str, *args: Any, **kwargs: Any) -> pl.DataFrame:
        """What the method of a reader returns; its errors are raised here."""
        with self._lock:
            try:
                process = self._process or self._start()
                assert process.stdin is not None
                assert process.stdout is not None
                send(process.stdin, (method, args, kwargs))
                answer = pickle.load(process.stdout)  # noqa: S301  (of our own process)
            except (OSError, EOFError) as error:
                self._end()
                raise StoreError(
                    f"the process that reads for this forked one has ended: {error or 'ask again'}"
                ) from None
            except BaseException:  # interrupted: the next question would get this answer
                self._end()
                raise
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, pl.DataFrame)
        return answer

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._process = process
        assert process.stdin is not None
        # over the pipe and not as an argument, because it contains the URL
        send(process.stdin, (sys.path, self._settings))
        return process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass  # what was not sent is not needed any more


def send(pipe: IO[bytes], value: Any) -> None:
    """Write a value to the other process."""
    pickle.dump(value, pipe)
    pipe.flush()
