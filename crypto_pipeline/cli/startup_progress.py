"""Lines and progress bars of `up` while it starts and first fills the database."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from crypto_pipeline.ops.host.paths import UpState
    from crypto_pipeline.ops.supervision.start.worker import StartProgress

#: Without a terminal, a line is written only after a change, and at most once in this many seconds.
_SPEAK_EVERY = 15.0


class FirstMinutes:
    """Lines and progress bars of ``up``. An error here does not stop the supervision."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._live: Progress | None = None

    def say(self, text: str) -> None:
        """Print one line for people, with the seconds since the start."""
        with contextlib.suppress(OSError):  # the log may be on a full disk, which must not end the supervision
            self._print(f"[{time.monotonic() - self._started:6.1f} s] {text}")

    def _print(self, line: str) -> None:
        if self._live is not None:
            self._live.console.print(line, markup=False)
        else:
            print(line, flush=True)

    def begin(self, state: UpState, progress: Iterator[StartProgress | str]) -> None:
        """Print the URLs once everything answers, and show ``progress`` of the first backfill."""
        if "api" in state.urls:
            self.say(f"live page {state.urls['api']}/")
        self.say(f"Dagster UI {state.urls['ui']}")
        thread = threading.Thread(target=self._follow, args=(state, progress), name="first-minutes", daemon=True)
        thread.start()

    def _follow(self, state: UpState, progress: Iterator[StartProgress | str]) -> None:
        try:
            # The sensor `new_instruments` requests the backfill: at the first start every instrument is new.
            self.say(f"new instruments are backfilled automatically: {state.urls['ui']}/runs")
            if self._watch(progress):
                self._urls(state)
        except Exception as error:  # the deployment continues; Dagster's sensors fill the database anyway
            self.say(f"cannot show the first backfill: {type(error).__name__}: {error}")

    def _urls(self, state: UpState) -> None:
        for name, url in state.urls.items():
            self.say(f"{name:<8} {url}")
        self.say("runs until Ctrl-C or `crypto-pipeline down`")

    def _watch(self, progress: Iterator[StartProgress | str]) -> bool:
        """Show the progress; whether the database became complete."""
        show = self._terminal if sys.stdout.isatty() else self._lines
        with show() as update:
            for seen in progress:
                if isinstance(seen, str):
                    self.say(f"the database does not answer now: {seen}")
                    continue
                update(seen)
                if seen.complete:
                    rows = sum(row["present"] for row in seen.timeframes.values())
                    self.say(f"complete: {rows:,} bars stored, {seen.checks_said}")
                    return True
        return False

    def _terminal(self) -> Any:
        return _Bars(self)

    def _lines(self) -> Any:
        return _Lines(self)


class _Lines:
    def __init__(self, screen: FirstMinutes) -> None:
        self._screen = screen
        self._last = ""
        self._spoke = -_SPEAK_EVERY

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, stored: StartProgress) -> None:
        line = (
            f"bars {stored.accounted:,} of {stored.expected:,} present or explained, "
            f"checks of stored data {stored.checks_passed} of {stored.checks_wanted} passed"
        )
        if line != self._last and time.monotonic() - self._spoke >= _SPEAK_EVERY:
            self._screen.say(line)
            self._last, self._spoke = line, time.monotonic()


class _Bars:
    def __init__(self, screen: FirstMinutes) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description:<7}"),
            BarColumn(),
            TextColumn("{task.completed:>11,.0f} of {task.total:>11,.0f}"),
            TimeElapsedColumn(),
        )
        self._live = Progress(*columns, transient=True)
        self._screen = screen
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Any:
        self._live.start()
        self._screen._live = self._live
        return self

    def __exit__(self, *_: object) -> None:
        self._screen._live = None
        self._live.stop()

    def __call__(self, stored: StartProgress) -> None:
        for name, row in stored.timeframes.items():
            self._show(name, row["present"] + row["explained"], row["expected"])
        self._show("checks", stored.checks_passed, stored.checks_wanted)

    def _show(self, name: str, done: int, total: int) -> None:
        if total == 0:
            return
        if name not in self._tasks:
            self._tasks[name] = self._live.add_task(name, total=total)
        self._live.update(self._tasks[name], completed=min(done, total), total=total)
