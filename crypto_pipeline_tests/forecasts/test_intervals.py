"""Quantiles and their correction: what holds for any errors, and what any cut of the future leaves unchanged.

Guards I5 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.forecasts import ets
from crypto_pipeline.forecasts.choice import choose
from crypto_pipeline.forecasts.conformal import COVERAGES, calibrate
from crypto_pipeline.forecasts.fitting import fit, judge
from crypto_pipeline.forecasts.horizons import LEAST_ORIGINS, ForecastHorizon, Walk
from crypto_pipeline.forecasts.scoring import block_interval, covered, pinball
from crypto_pipeline.forecasts.timeline import Timeline
from crypto_pipeline.market.calendars import ALWAYS
from crypto_pipeline_tests.builders.forecast_evaluation import evaluate, timeline
from crypto_pipeline_tests.builders.forecast_market import random_walk


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(70, 160), st.floats(0, 0.4))
def test_intervals_are_nested_hold_the_path_and_are_of_errors_that_were_seen(
    seed: int, steps: int, count: int, absent: float
) -> None:
    rng = np.random.default_rng(seed)
    errors = rng.standard_t(3, (2, count, steps))
    errors[rng.random(errors.shape) < absent] = np.nan
    origins = np.arange(count)
    targets = origins[:, None] + np.arange(1, steps + 1)
    targets[targets >= count] = -1
    errors[:, targets < 0] = np.nan
    found = calibrate(errors, origins, targets, Walk(80, 500, 7, 0.05))
    for row, step in np.ndindex(2, steps):
        offsets = found.offsets[row, step]
        seen = errors[row, :, step]
        if found.used[row, step] < LEAST_ORIGINS:
            assert np.isnan(offsets).all()
            continue
        assert (np.diff(offsets) >= 0).all()
        assert offsets[2] == 0
        assert set(offsets) <= {0.0, *seen[~np.isnan(seen)]}
        assert found.used[row, step] <= 80


def test_coverage_comes_back_after_the_market_has_changed() -> None:
    """Errors grow threefold: without correction the interval stays too narrow until the window has forgotten."""
    rng = np.random.default_rng(3)
    errors = rng.normal(0, 1, (40, 700, 1))
    errors[:, 350:] *= 3
    origins = np.arange(700)
    targets = np.where(origins < 699, origins + 1, -1)[:, None]

    def held(rate: float) -> float:
        found = calibrate(errors, origins, targets, Walk(365, 700, 1, rate))
        late = np.arange(400, 500)
        offsets = np.moveaxis(found.walked[found.recalibration[late]], 0, 1)
        return float(covered(errors[:, late], offsets)[0.80].mean())

    assert held(0.0) < 0.66
    assert held(0.02) > held(0.0) + 0.03


@pytest.mark.parametrize("horizon", ForecastHorizon)
def test_no_figure_of_an_origin_knows_what_came_later(horizon: ForecastHorizon) -> None:
    """The bars after a cut are replaced by nonsense: every loss and interval up to the cut stays as it was."""
    bars = 400 if horizon is ForecastHorizon.HOURS else 260
    line = timeline(horizon, bars)
    values = np.log(np.array([random_walk(bars, seed) for seed in range(2)]))
    nonsense, cut = values.copy(), bars - 60
    nonsense[:, cut:] += np.random.default_rng(9).normal(0, 5, (2, bars - cut))
    model = _smoothing(values)
    truth, other = judge(line, values, model), judge(line, nonsense, model)
    first = bars - truth["naive"].errors.shape[1]
    known = cut - first - horizon.reach  # origins whose last target is before the cut
    for name, one in truth.items():
        assert np.array_equal(one.losses()[:, :known], other[name].losses()[:, :known], equal_nan=True), name
        places = one.calibrated.recalibration[: cut - first]
        used = np.unique(places[places >= 0])
        assert len(used) > 2
        assert np.array_equal(one.calibrated.walked[used], other[name].calibrated.walked[used], equal_nan=True), name


def _smoothing(values: np.ndarray) -> ets.EtsModel:
    series = len(values)
    return ets.EtsModel(
        np.full(series, 0.9), np.full(series, 0.02), np.full(series, 0.95), values[:, 0].copy(), np.zeros(series)
    )


def test_on_random_walks_naive_is_published() -> None:
    line = timeline(ForecastHorizon.DAYS, 500)
    values = np.log(np.array([random_walk(500, seed) for seed in range(60)]))
    chosen = [one.choice.model for one in fit(line, values, smoothing=False) if one is not None]
    assert chosen.count("naive") / len(chosen) >= 0.9
    trending = np.log(np.array([random_walk(500, seed, 0.01, 0.01) for seed in range(5)]))
    assert [one.choice.model for one in fit(line, trending, smoothing=False) if one] == ["drift"] * 5


def test_too_few_origins_give_no_forecast_and_a_hole_costs_its_origins() -> None:
    horizon = ForecastHorizon.DAYS
    for bars, there in ((LEAST_ORIGINS + horizon.reach - 1, False), (LEAST_ORIGINS + horizon.reach, True)):
        (found,) = fit(timeline(horizon, bars), np.log(random_walk(bars))[None, :], smoothing=False)
        assert (found is not None) is there
    values = np.log(random_walk(67))[None, :]
    values[0, 30] = np.nan
    assert fit(timeline(horizon, 67), values, smoothing=False) == [None]


def test_a_step_of_a_week_ends_at_the_last_session_before_it() -> None:
    pytest.importorskip("exchange_calendars")
    from crypto_pipeline.market.calendars import get_calendar

    moment = datetime(2025, 12, 20, tzinfo=UTC)  # the close of Friday the 19th's bar
    line = Timeline.over(ForecastHorizon.WEEKS, get_calendar("XNYS"), moment - timedelta(days=30), moment)
    targets = line.targets_after(moment)
    assert [f"{each:%a %d %b}" for each in targets] == ["Sat 27 Dec", "Sat 03 Jan", "Sat 10 Jan", "Sat 17 Jan"]
    days = Timeline.over(ForecastHorizon.DAYS, get_calendar("XNYS"), moment - timedelta(days=30), moment)
    assert [f"{each:%d}" for each in days.targets_after(moment)] == ["23", "24", "25", "27", "30", "31", "01"]
    always = Timeline.over(ForecastHorizon.HOURS, ALWAYS, moment - timedelta(days=2), moment)
    assert always.targets_after(moment)[-1] == moment + timedelta(days=1)


def test_another_candidate_must_be_surely_better() -> None:
    rng = np.random.default_rng(0)
    naive = rng.random(400) + 1
    assert choose({"naive": naive, "drift": naive - rng.random(400)}, 14).model == "drift"
    assert choose({"naive": naive, "drift": naive - rng.normal(0, 1, 400)}, 14).model == "naive"
    assert "too few" in choose({"naive": naive[:100], "drift": naive[:100] - 0.1}, 14).why


def test_pinball_is_least_at_the_quantiles() -> None:
    seen = np.random.default_rng(1).normal(0, 1, 4000)
    right = np.quantile(seen, (0.025, 0.1, 0.5, 0.9, 0.975))
    best = pinball(seen, np.broadcast_to(right, (4000, 5))).mean()
    for wrong in (right * 1.2, right * 0.8, right + 0.1):
        assert pinball(seen, np.broadcast_to(wrong, (4000, 5))).mean() > best
    assert covered(np.array([1.0]), np.array([[1.0, 1.0, 1.0, 1.0, 1.0]]))[0.80].all(), "ends belong to an interval"
    low, high = block_interval(seen, 24)
    assert low < seen.mean() < high


@pytest.mark.realdata
def test_intervals_hold_what_they_promise_on_recorded_hours(recorded_data: object) -> None:
    from pathlib import Path

    from crypto_pipeline_tests.builders.recorded_closes import hours

    assert isinstance(recorded_data, Path)
    found = [evaluate(ForecastHorizon.HOURS, hours(recorded_data, name)) for name in ("ETH-USD 2019", "LTC-USD 2019")]
    for promised, (low, high) in zip(COVERAGES, ((0.77, 0.83), (0.93, 0.97)), strict=True):
        assert low <= np.concatenate([one.inside[promised] for one in found]).mean() <= high
    for one in found:
        assert one.published.mean() <= one.naive.mean() * 1.0001
