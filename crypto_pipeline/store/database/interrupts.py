"""Queries that Ctrl-C interrupts.

In the main thread ADBC replaces Python's signal handler: a signal cancels the query, which then fails as if the server
had taken too long, and Python never sees the signal. The handler also writes to a pipe that a forked
child shares with its parent, so that Ctrl-C in the child would cancel the parent's query. In any other thread ADBC
leaves signals alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")

_STEP = 0.25


def interruptible(work: Callable[[], T], cancel: Callable[[], None]) -> T:
    """Run ``work`` and return its result. A signal that raises an error calls ``cancel`` and waits for ``work`` to end.

    In the main thread this costs a thread (0.1 ms).
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run, name="reading", daemon=True)
    thread.start()
    try:
        # in steps, because a signal that another thread receives does not interrupt this wait
        while not wait([future], _STEP).done:
            pass
        return future.result()
    except BaseException:
        if not future.done():
            cancel()
        thread.join()
        raise
