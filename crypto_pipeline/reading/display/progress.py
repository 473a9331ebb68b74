"""The progress of calls that take long: a bar in notebooks by itself, in a terminal where it is asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

#: Takes the number of steps that are done, and of all.
Steps = Callable[[int, int], None]

#: A call that is over sooner shows nothing; seconds between two drawings.
_SILENT_FOR, _BETWEEN = 1.0, 0.2


def no_steps(done: int, total: int) -> None:
    """Show nothing."""


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel")


@contextmanager
def shown_progress(title: str, progress: bool | None) -> Iterator[Steps]:
    """What a call reports its steps to, while it runs. ``progress`` None: shown in a notebook; True: in a terminal too.

    In a notebook a line of output, from one second on; in a terminal a line of stderr that is erased at the end.
    """
    if progress is False or (progress is None and not in_notebook()):
        yield no_steps
        return
    if in_notebook():
        line = NotebookLine(title)
        yield line
        line.end()
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class NotebookLine:
    """One output of a cell, which is drawn again as steps are done."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._started = self._drawn = time.monotonic()
        self._handle: Any = None
        self._steps = (0, 0)

    def __call__(self, done: int, total: int) -> None:
        """So many steps of all are done."""
        self._steps = (done, total)
        now = time.monotonic()
        if now - self._started >= _SILENT_FOR and now - self._drawn >= _BETWEEN:
            self._drawn = now
            bar = f'<progress value="{done}" max="{max(total, 1)}"></progress>'
            self._draw(f"{self._title}: {done} of {total}", bar)

    def end(self) -> None:
        """Say how long it took, where anything was shown."""
        if self._handle is not None:
            self._draw(f"{self._title}: {self._steps[1]} steps in {time.monotonic() - self._started:.1f} s", "")

    def _draw(self, text: str, bar: str) -> None:
        from IPython.display import display

        data = {"text/plain": text, "text/html": f"<p>{escape(text)} {bar}</p>"}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(data, raw=True)
