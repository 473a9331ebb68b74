"""Uniqueness among the labels of one instrument, and of the whole market, beside counting every bar."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.labels.uniqueness import market_uniqueness, uniqueness

#: Entry bars and lengths of labels of many instruments, in any order.
_LABELS = st.lists(st.tuples(st.integers(1_000_000, 1_000_300), st.integers(1, 80)), max_size=60)


def counted(labels: list[tuple[int, int]]) -> list[float]:
    """By the definition: every bar of every label, and who is alive in it."""
    lives = [set(range(entry, entry + bars)) for entry, bars in labels]
    return [
        sum(1 / sum(bar in other for other in lives) for bar in sorted(life)) / len(life) for life in lives
    ]  # fmt: skip


def market(labels: list[tuple[int, int]]) -> list[float]:
    entry, bars = (np.array([label[part] for label in labels], np.int64) for part in (0, 1))
    return market_uniqueness(entry, bars).tolist()


@settings(max_examples=150, deadline=None)
@given(_LABELS)
def test_the_share_of_the_market_is_counted_bar_by_bar(labels: list[tuple[int, int]]) -> None:
    ours = market(labels)
    np.testing.assert_allclose(ours, counted(labels), rtol=1e-12)
    assert all(0 < share <= 1 for share in ours)


@settings(max_examples=50, deadline=None)
@given(_LABELS, st.lists(st.tuples(st.integers(1_000_500, 1_000_700), st.integers(1, 80)), max_size=9), st.randoms())
def test_it_depends_to_the_last_bit_on_nothing_that_does_not_overlap(
    labels: list[tuple[int, int]], elsewhere: list[tuple[int, int]], random: np.random.RandomState
) -> None:
    ours = dict(zip(labels, market(labels), strict=True))
    mixed = labels + elsewhere
    random.shuffle(mixed)  # type: ignore[arg-type]
    again = dict(zip(mixed, market(mixed), strict=True))
    assert all(again[label] == share for label, share in ours.items())


def test_one_instrument_alone_has_the_share_it_has_among_its_own() -> None:
    entry, bars = np.array([0, 3, 3, 50], np.int64), np.array([10, 5, 1, 4], np.int64)
    np.testing.assert_array_equal(market_uniqueness(entry, bars), uniqueness(entry, bars, 60))
    assert market_uniqueness(entry[:0], bars[:0]).tolist() == []


def test_300_000_labels_take_well_under_two_seconds() -> None:
    rng = np.random.default_rng(1)
    entry, bars = rng.integers(0, 17_280, 300_000), rng.integers(1, 289, 300_000)
    market_uniqueness(entry[:10], bars[:10])
    began = time.process_time()
    shares = market_uniqueness(entry, bars)
    assert time.process_time() - began < 2
    assert len(shares) == 300_000
