"""Compiled windows and recursions against plain Python on anything: holes, spikes, runs of equal values, any length."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.arrays import rolling
from crypto_pipeline.arrays.rolling import Floats

#: Ordinary values, equal ones, spikes that dwarf them, and holes.
VALUES = st.one_of(
    st.floats(-3, 3, allow_subnormal=False), st.sampled_from([0.0, 1.0, 1.0, 3.3e-7, 4e9, -2e12, math.nan, math.nan])
)
SERIES = st.lists(VALUES, max_size=60)
N = st.integers(1, 9)
#: Squares of smaller values have lost digits.
TINY = sys.float_info.min


def windows(x: Floats, n: int, needed: int, measure: Callable[[Floats], float], least: int = 1) -> Floats:
    """``measure`` of what is there of every window."""
    found = np.full(len(x), np.nan)
    for at in range(len(x)):
        rows = x[max(0, at - n + 1) : at + 1]
        there = rows[~np.isnan(rows)]
        if len(there) >= max(needed, least):
            found[at] = measure(there)
    return found


def exact_mean(rows: Floats) -> float:
    return math.fsum(rows) / len(rows)


def exact_variance(rows: Floats, ddof: int) -> float:
    mean = exact_mean(rows)
    return math.fsum((rows - mean) ** 2) / (len(rows) - ddof)


def close_to(ours: Floats, exact: Floats, size: Floats) -> None:
    """NaN at the same places; errors of rounding in what the window itself holds, nothing from before."""
    assert np.array_equal(np.isnan(ours), np.isnan(exact))
    error, allowed = np.abs(ours - exact), 1e-13 * size
    assert not (error > allowed).any(), (ours, exact)


@given(SERIES, N, N)
@settings(max_examples=150, deadline=None)
def test_windows_hold_what_is_in_them_and_nothing_else(values: list[float], n: int, needed: int) -> None:
    x, needed = np.array(values, float), min(n, needed)
    size = windows(x, n, needed, lambda rows: float(np.abs(rows).max()))
    mean, deviation = rolling.rolling_moments(x, n, needed, ddof=0)
    close_to(rolling.rolling_mean(x, n, needed), windows(x, n, needed, exact_mean), size)
    close_to(mean, windows(x, n, needed, exact_mean), size)
    close_to(deviation**2, windows(x, n, needed, lambda rows: exact_variance(rows, 0)), size**2)
    sample = rolling.rolling_std(x, n, needed)
    close_to(sample**2, windows(x, n, needed, lambda rows: exact_variance(rows, 1), 2), size**2)
    for ours, extreme in ((rolling.rolling_max(x, n, needed), np.max), (rolling.rolling_min(x, n, needed), np.min)):
        assert np.array_equal(ours, windows(x, n, needed, extreme), equal_nan=True)
    flat = windows(x, n, needed, np.ptp) == 0
    assert (deviation[flat] == 0).all()
    assert (mean[flat] == windows(x, n, needed, np.max)[flat]).all()


@given(SERIES, SERIES, N, N)
@settings(max_examples=100, deadline=None)
def test_two_series_vary_together_where_both_are_there(a: list[float], b: list[float], n: int, needed: int) -> None:
    rows, needed = min(len(a), len(b)), min(n, needed)
    x, y = np.array(a[:rows], float), np.array(b[:rows], float)
    of_x, of_y, together = rolling.rolling_comoments(x, y, n, needed)
    for at in range(rows):
        p, q = x[max(0, at - n + 1) : at + 1], y[max(0, at - n + 1) : at + 1]
        both = ~np.isnan(p + q)
        p, q = p[both], q[both]
        if len(p) < max(needed, 2):
            assert math.isnan(of_x[at])
            assert math.isnan(together[at])
            continue
        size = max(1e-30, float(np.abs(p).max() * np.abs(q).max()))
        exact = math.fsum((p - exact_mean(p)) * (q - exact_mean(q))) / (len(p) - 1)
        assert together[at] == pytest.approx(exact, abs=1e-12 * size)
        assert of_x[at] == pytest.approx(exact_variance(p, 1), abs=max(TINY, 1e-12 * float(np.abs(p).max()) ** 2))
        assert of_y[at] == pytest.approx(exact_variance(q, 1), abs=max(TINY, 1e-12 * float(np.abs(q).max()) ** 2))


def test_a_spike_that_has_left_the_window_leaves_no_residue() -> None:
    rng = np.random.default_rng(1)
    calm = rng.lognormal(0, 1, 4000)
    spiky = calm.copy()
    spiky[::331] = 1e14
    held = np.ones(4000, bool)
    for at in range(0, 4000, 331):
        held[at : at + 96] = False
    for ours, without in zip(rolling.rolling_moments(spiky, 96), rolling.rolling_moments(calm, 96), strict=True):
        assert np.nanmax(np.abs(ours - without)[held] / without[held]) < 1e-12


def test_recursions_cut_absent_rows_out_and_rows_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(0, 1, (3, 500))
    x[rng.random((3, 500)) < 0.2] = np.nan
    x[1] = np.nan
    for mean_first in (False, True):
        ours = rolling.smoothed(x, 0.1, 7, mean_first=mean_first)
        for row in range(3):
            there = ~np.isnan(x[row])
            values = x[row][there]
            expected = np.full(len(values), np.nan)
            if len(values):
                state = values[0]
                for at, value in enumerate(values):
                    state += 0.1 * (value - state)
                    if mean_first and at == 6:
                        state = values[:7].mean()
                    expected[at] = state if at >= 6 else np.nan
            assert np.isnan(ours[row][~there]).all()
            assert np.allclose(ours[row][there], expected, rtol=1e-12, equal_nan=True)
    last = rolling.held(x)
    assert np.isnan(last[1]).all()
    filled = x[2].copy()
    for at in range(1, 500):
        filled[at] = filled[at - 1] if math.isnan(filled[at]) else filled[at]
    assert np.array_equal(last[2], filled, equal_nan=True)


def test_ranks_share_ties_and_leave_out_what_is_absent() -> None:
    found = rolling.ranks(np.array([[3.0, 1.0, np.nan, 3.0, 2.0], [np.nan] * 5]))
    assert np.array_equal(found, [[3.5, 1.0, np.nan, 3.5, 2.0], [np.nan] * 5], equal_nan=True)


def test_they_work_where_no_folder_can_be_written(tmp_path: Path) -> None:
    package = tmp_path / "crypto_pipeline"
    package.mkdir()
    source = Path(rolling.__file__)
    (package / "kernels.py").write_text(source.read_text())
    code = (
        "import logging; logging.basicConfig(level='INFO')\n"
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "import kernels, numpy as np\n"
        "print(kernels.held(np.array([1.0, np.nan])).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=package, capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(package)})  # fmt: skip
    assert done.stdout.strip() == "[1.0, 1.0]"
    assert "not kept" in done.stderr
