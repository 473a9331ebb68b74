"""Setups are spaced by setups alone, for good, and from a bounded stretch of the past."""

from __future__ import annotations

import random
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.labels.compute import enterable, find_setups
from crypto_pipeline.labels.setups import setups_of
from crypto_pipeline.labels.spacing import reach, spaced
from crypto_pipeline.labels.strategies import dca
from crypto_pipeline.labels.strategies.base import WARM_UP, WEEK, SetupBars
from crypto_pipeline.labels.strategies.dca import DcaParameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Timeframe, roll_up_all
from crypto_pipeline_tests.builders.label_market import START, minutes
from crypto_pipeline_tests.labels.comparison import NAME, SETS, Tally, compare, context_of, panel_of
from crypto_pipeline_tests.oracles import labels

DAYS = 21
DENSE = SETS["dense"][Strategy.DCA]
assert isinstance(DENSE, DcaParameters)

#: Candidates as steps between them, mostly so small that runs last for weeks.
_STEPS = st.lists(st.integers(1, 70) | st.sampled_from([1, 2, 59, 60, 61, 700]), min_size=1, max_size=400)


def candidates(steps: list[int], first: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return first + np.cumsum(np.array(steps, np.int64))


@settings(max_examples=100, deadline=None)
@given(_STEPS, st.integers(2_000_000, 2_002_000), st.integers(0, 288))
def test_spacing_holds_and_is_bounded_and_never_looks_ahead(steps: list[int], first: int, spacing: int) -> None:
    bars = candidates(steps, first)
    chosen = spaced(bars, spacing)
    taken = bars[chosen]
    assert (np.diff(taken) >= spacing).all()
    milliseconds = (bars * labels.QUARTER).tolist()
    assert {*(taken * labels.QUARTER).tolist()} == labels.spaced(milliseconds, spacing)
    for place in {0, len(bars) // 2, len(bars) - 1}:
        assert spaced(bars[: place + 1], spacing)[-1] == chosen[place]
        recent = bars[(bars >= bars[place] - reach(spacing)) & (bars <= bars[place])]
        assert spaced(recent, spacing)[-1] == chosen[place]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 80), min_size=1, max_size=60), st.integers(2_000_000, 2_002_000))
def test_a_run_no_older_than_a_week_is_followed_from_its_first_candidate(steps: list[int], first: int) -> None:
    bars = candidates(steps, first)
    bars = bars[bars < bars[0] + WEEK]
    last, greedy = -1_000, []
    for bar in bars.tolist():
        if bar - last >= 60:
            greedy.append(bar)
            last = bar
    assert bars[spaced(bars, 60)].tolist() == greedy


@pytest.fixture(scope="module")
def market() -> dict[Timeframe, pl.DataFrame]:
    return roll_up_all(minutes("ARB-USDT", DAYS, 7))


def test_loose_setups_are_as_far_apart_as_stated(market: dict[Timeframe, pl.DataFrame]) -> None:
    end = START + timedelta(days=DAYS)
    panel = panel_of(market[Timeframe.M15], START, end)
    benchmark = roll_up_all(minutes("BTC-USDT", DAYS, 100))[Timeframe.M15]
    context = context_of(benchmark, market[Timeframe.H1], START, end)
    places = find_setups(Strategy.DCA, panel, context, DENSE, {NAME: "mid"})["place"].to_numpy()
    assert len(places) > 10
    assert np.diff(places).min() >= 60


def test_what_is_no_setup_spaces_nothing(market: dict[Timeframe, pl.DataFrame]) -> None:
    """Neither candidates inside the warm-up nor those that cannot be entered because the next bar is absent."""
    end = START + timedelta(days=DAYS)
    quarters = market[Timeframe.M15]
    benchmark = roll_up_all(minutes("BTC-USDT", DAYS, 100))[Timeframe.M15]
    context = context_of(benchmark, market[Timeframe.H1], START, end)

    panel = panel_of(quarters, START, end)
    able = enterable(panel)
    bars = SetupBars(panel, able, context.halted, context.hours, ["mid"])
    every = setups_of(dca.DCA, bars, DENSE.model_copy(update={"spacing": 0}))["place"].to_list()
    apart = setups_of(dca.DCA, bars, DENSE)["place"].to_list()
    assert not able[0, :WARM_UP].any()
    assert apart[0] == every[0]  # whatever fell before it, inside the warm-up
    # Where the next bar is absent nothing is bought: a later candidate takes its place, and waits for nobody.
    able[0, apart[1]] = False
    assert apart[1] < setups_of(dca.DCA, bars, DENSE)["place"][1] < apart[1] + 60


def test_the_reference_agrees_where_candidates_are_dense(market: dict[Timeframe, pl.DataFrame]) -> None:
    benchmark = roll_up_all(minutes("BTC-USDT", DAYS, 100))[Timeframe.M15]
    holes = market[Timeframe.M15].sample(fraction=0.995, seed=3).sort("open_time")
    tally = Tally()
    tier = random.Random(1).choice(["large", "mid", "meme"])
    bars = minutes("ARB-USDT", DAYS, 7)
    compare(bars, holes, market[Timeframe.H1], benchmark, tier, tally, ("dense",), (Strategy.DCA,))
    assert tally.events["dca"] > 10
