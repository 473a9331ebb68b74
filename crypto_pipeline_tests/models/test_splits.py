"""Splits against brute force over all pairs of labels. `bench/models.py --splits` runs 10,000 cases."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from crypto_pipeline.models.events import end_of
from crypto_pipeline.models.splits import EMBARGO, calibration_rows, fold, overlaps, walk_forward
from crypto_pipeline_tests.builders.model_events import Market, events
from crypto_pipeline_tests.oracles.splits import overlapping_pairs, random_events

_CASES = 150


def test_no_label_that_trains_lives_with_one_that_tests_in_random_cases() -> None:
    trained = 0
    for seed in range(_CASES):
        rng = np.random.default_rng(seed)
        frame = random_events(rng)
        begin, end = frame["available_at"][0], frame["available_at"][-1]
        start = begin + (end - begin) * rng.uniform(0.2, 0.8)
        after, embargo = bool(rng.integers(2)), timedelta(minutes=15 * int(rng.integers(0, 5)))
        found = fold(frame, start, start + (end - begin) * rng.uniform(0.05, 0.3), after=after, embargo=embargo)
        assert overlapping_pairs(frame, found.train.tolist(), found.test.tolist()) == 0
        assert not set(found.train.tolist()) & set(found.test.tolist())
        fits, calibrates = calibration_rows(frame, found.train, rng.uniform(0.05, 0.5))
        assert overlapping_pairs(frame, fits.tolist(), calibrates.tolist()) == 0
        trained += len(found.train)
    assert trained > 10 * _CASES


def test_overlaps_counts_as_brute_force_does() -> None:
    counted = 0
    for seed in range(_CASES):
        rng = np.random.default_rng([1, seed])
        frame = random_events(rng)
        chosen = rng.random(frame.height) < 0.5
        train, test = np.flatnonzero(chosen), np.flatnonzero(~chosen)
        expected = overlapping_pairs(frame, train.tolist(), test.tolist())
        assert overlaps(frame, train, test) == expected
        counted += expected
    assert counted > _CASES


def test_nothing_is_dropped_that_may_train() -> None:
    """Every row that is left out of train by a fold lives with the test, or comes after it or within its embargo."""
    frame = events(Market(instruments=12, days=30))
    start, end = frame["available_at"][100], frame["available_at"][200]
    found = fold(frame, start, end)
    left_out = frame.with_row_index().filter(~pl.col("index").is_in(found.train.tolist()))
    assert left_out.filter(pl.col("label_end_ts") < start).is_empty()


def test_train_that_follows_the_test_waits_for_its_last_label_and_a_day() -> None:
    frame = events(Market(instruments=3, days=60))
    start = frame["available_at"][0] + timedelta(days=20)
    found = fold(frame, start, start + timedelta(days=14), after=True)
    last = frame[found.test]["label_end_ts"].max()
    later = frame[found.train].filter(pl.col("available_at") >= start)
    assert later["available_at"].min() >= last + EMBARGO
    assert frame.filter(pl.col("available_at") >= last + EMBARGO).height == later.height


def test_walk_forward_has_six_tests_of_14_days_that_expand() -> None:
    frame = events(Market(instruments=3))
    end = end_of(frame)
    folds = walk_forward(frame, end)
    assert [each.test_end - each.test_start for each in folds] == [timedelta(days=14)] * 6
    assert [each.test_start for each in folds[1:]] == [each.test_end for each in folds[:-1]]
    assert folds[-1].test_end == end
    sizes = [len(each.train) for each in folds]
    assert sizes == sorted(set(sizes))
    for each in folds:
        assert frame[each.train]["label_end_ts"].max() < each.test_start


@pytest.mark.parametrize("share", [0.15, 0.4])
def test_the_last_share_calibrates_and_signals_of_one_moment_stay_together(share: float) -> None:
    frame = events(Market(instruments=9, days=40))
    train = np.arange(frame.height - 50)
    fits, calibrates = calibration_rows(frame, train, share)
    assert len(calibrates) / len(train) == pytest.approx(share, abs=0.02)
    begin = frame[calibrates]["available_at"].min()
    assert frame[fits]["label_end_ts"].max() < begin
    assert calibrates.tolist() == train[(frame[train]["available_at"] >= begin).to_numpy()].tolist()
    assert [len(part) for part in calibration_rows(frame, train[:0])] == [0, 0]
