"""Running tests as if it were another day: the wall clock of pytest, and of all that it starts, is moved.

Monotonic clocks stay real, so that waiting takes as long as ever. PostgreSQL, Dagster and the replay exchange are
children of pytest and see the same moved clock. The library that does it is `moved_clock.c`; it needs a C compiler.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from crypto_pipeline_tests.builders.places import PROJECT


@dataclass(frozen=True)
class Moment:
    """A time at which the tests begin, and the time zone of the machine."""

    name: str
    days: float | None = None
    at: datetime | None = None
    zone: str = "UTC"

    def offset(self, now: datetime) -> float:
        """Seconds by which the clock is moved, when it is ``now``."""
        if self.at is not None:
            return (self.at - now).total_seconds()
        assert self.days is not None
        return timedelta(days=self.days).total_seconds()


MOMENTS = (
    Moment("400 days ago", days=-400),
    Moment("8 days ago", days=-8),
    Moment("in 8 days", days=8),
    Moment("in 45 days", days=45),
    Moment("in 400 days", days=400),
    # the first hour of a month, in which yesterday is of another month and little of today is there
    Moment("first minutes of a month", at=datetime(2026, 12, 1, 0, 2, tzinfo=UTC)),
    Moment("last minutes of a week", at=datetime(2026, 12, 6, 23, 57, tzinfo=UTC)),
    # half a minute before each: the first tests end before it, the others after it
    Moment("last day of a month", at=datetime(2027, 1, 31, 23, 59, 30, tzinfo=UTC)),
    Moment("leap day", at=datetime(2028, 2, 28, 23, 59, 30, tzinfo=UTC)),
    Moment("end of a year", at=datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC)),
    Moment("New York's clocks go forward", at=datetime(2027, 3, 14, 6, 59, 30, tzinfo=UTC), zone="America/New_York"),
    Moment("New York's clocks go back", at=datetime(2026, 11, 1, 5, 59, 30, tzinfo=UTC), zone="America/New_York"),
    Moment("Berlin's clocks go forward", at=datetime(2027, 3, 28, 0, 59, 30, tzinfo=UTC), zone="Europe/Berlin"),
    Moment("Berlin's clocks go back", at=datetime(2025, 10, 26, 0, 59, 30, tzinfo=UTC), zone="Europe/Berlin"),
)


def compiler() -> str | None:
    """The C compiler of this machine; None: there is none."""
    return shutil.which("cc") or shutil.which("gcc")


def library(folder: Path) -> Path:
    """Compile the library that moves the clock into ``folder``. Raises FileNotFoundError without a compiler."""
    found = compiler()
    if found is None:
        raise FileNotFoundError("no C compiler: install gcc to run tests under a moved clock")
    made = folder / "moved_clock.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run([found, "-O2", "-shared", "-fPIC", "-o", str(made), str(source), "-ldl", "-lpthread"], check=True)
    return made


def run_tests(
    moment: Moment, arguments: Sequence[str], timeout: float, moved: Path
) -> subprocess.CompletedProcess[str]:
    """Run pytest with ``arguments`` while the library ``moved`` moves the clock to ``moment``."""
    environment = os.environ | {
        "LD_PRELOAD": str(moved),
        "MOVED_CLOCK_SECONDS": f"{moment.offset(datetime.now(UTC)):.0f}",
        "TZ": moment.zone,
    }
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_TESTRUNUID", "PYTEST_XDIST_WORKER_COUNT"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
