"""No test and no decision depends on the day: the tests that take time into account pass on any other day as well.

A short form of `bench/moved_clock.py`, which moves the clock for the whole suite.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from crypto_pipeline_tests.moved_clock import MOMENTS, compiler, library, run_tests

_TESTS = (
    "crypto_pipeline_tests/healing/test_live_gaps.py",
    "crypto_pipeline_tests/store/database/test_market_clock.py",
)
#: Long ago, in another zone, and its clocks change while the tests run.
_HARDEST = next(each for each in MOMENTS if each.name == "Berlin's clocks go back")


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if compiler() is None:
        pytest.skip("no C compiler (gcc) on this machine: the clock of tests cannot be moved")
    return library(tmp_path_factory.mktemp("moved"))


@pytest.mark.slow
def test_time_is_taken_from_the_market_on_any_day(moved: Path) -> None:
    ended = run_tests(_HARDEST, _TESTS, 500, moved)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
