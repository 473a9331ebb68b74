"""Run the tests under a moved clock, for each of several critical times, and print the failures.

    python bench/moved_clock.py [--moment "leap day"] [--] [pytest arguments; default: everything but whole deployments]

Takes as long as the suite, once per moment.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import machine, table

from crypto_pipeline_tests.moved_clock import MOMENTS, library, run_tests

_USUAL = [
    "crypto_pipeline_tests", "-n", "2", "--ignore=crypto_pipeline_tests/browser",
    "--ignore=crypto_pipeline_tests/ops/supervision/test_up.py", "--ignore=crypto_pipeline_tests/test_moved_clock.py",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moment", action="append", choices=[each.name for each in MOMENTS])
    parser.add_argument("pytest", nargs="*", default=_USUAL)
    given = parser.parse_args()
    print(machine())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        moved = library(Path(folder))
        for moment in MOMENTS:
            if given.moment and moment.name not in given.moment:
                continue
            began = time.monotonic()
            ended = run_tests(moment, given.pytest, 7200, moved)
            last = ended.stdout.strip().splitlines()[-1:] or [ended.stderr.strip()[-200:]]
            counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", last[0])}
            failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", ended.stdout, re.MULTILINE)
            rows.append([moment.name, moment.zone, *(counts.get(word, 0) for word in ("passed", "failed", "skipped")),
                         f"{time.monotonic() - began:.0f} s"])  # fmt: skip
            print(moment.name, last[0], *failed, sep="\n  ", flush=True)
    table(["moment", "zone", "passed", "failed", "skipped", "took"], rows)


if __name__ == "__main__":
    main()
