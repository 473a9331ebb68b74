"""The test of variants: noise is not recommended, a real difference is, and nothing on too little."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from crypto_pipeline.trading.shadow.comparison import DailyResult, VariantComparison, compare
from crypto_pipeline.trading.shadow.recommendation import LEVEL, next_test, recommend
from crypto_pipeline_tests.builders.shadow_histories import KINDS, history

_HISTORIES = 24


def recommended(kind: str, days: int, seed: int, edge: float) -> dict[str, VariantComparison]:
    found = history(kind, days, seed, edge)
    return recommend({strategy: compare(*results, seed=seed) for strategy, results in found.items()})


def test_where_no_variant_is_better_a_change_is_rarely_recommended() -> None:
    """The whole loop of 2,000 histories stands in bench/shadow.py."""
    found = [bool(recommended(kind, 60, seed, 0.0)) for kind in KINDS for seed in range(_HISTORIES)]
    assert sum(found) / len(found) <= 0.05 + 2 * (0.05 * 0.95 / len(found)) ** 0.5


def test_a_real_difference_is_found() -> None:
    """One of 0.5 standard deviations a day, in 90 days."""
    found = [recommended(kind, 90, seed, 0.5) for kind in ("normal", "wild") for seed in range(15)]
    assert sum(set(each) == {"channel"} and each["channel"].variant == "V0" for each in found) >= 0.8 * len(found)


def better(days: int = 60, trades: int = 100, drop: float = 0.0) -> VariantComparison:
    """A variant that is surely better, compared over so many days, with a fall of ``drop`` on one of them."""
    rng = np.random.default_rng(1)
    production = 0.01 * rng.normal(size=days)
    net = production + 0.01 + 0.002 * rng.normal(size=days)
    net[days // 2] -= drop
    (found,) = compare(DailyResult(production, 100), {"QUICK_EXITS": DailyResult(net, trades)}, 1)
    return found


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        (better(), ()),
        (better(days=29), ("29 days, fewer than 30",)),
        (better(trades=99), ("99 trades, fewer than 100",)),
        (replace(better(drop=0.3), p_value=0.001), ("its worst drawdown is 0.2677, more than 0.0734",)),
    ],
    ids=["enough", "days", "trades", "drawdown"],
)
def test_what_hinders_a_recommendation(variant: VariantComparison, reason: tuple[str, ...]) -> None:
    assert len(variant.reasons) == len(reason)
    assert all(said.startswith(expected) for said, expected in zip(variant.reasons, reason, strict=True))
    assert set(recommend({"dca": [variant]})) == (set() if reason else {"dca"})


def test_too_few_trades_of_production_hinder_too() -> None:
    (found,) = compare(DailyResult(np.zeros(40), 99), {"TRAILING": DailyResult(np.ones(40), 100)}, 1)
    assert found.reasons == ("production has 99 trades, fewer than 100",)


def test_a_variant_that_does_the_same_is_never_recommended() -> None:
    net = np.random.default_rng(4).normal(size=50)
    same, other = compare(DailyResult(net, 100), {"DCA_5": DailyResult(net, 100), "ML_OFF": DailyResult(net, 99)}, 1)
    assert (same.difference, same.p_value, same.reasons, other.p_value) == (0.0, 1.0, (), 1.0)
    assert recommend({"dca": [same, other]}) == {}


def test_holm_asks_less_of_the_next_strategy_only_after_the_one_before_passed() -> None:
    def at(p_value: float) -> VariantComparison:
        return replace(better(), p_value=p_value)

    def passed(*p_values: float) -> list[int]:
        found = recommend({str(place): [at(value)] for place, value in enumerate(p_values)})
        return sorted(int(name) for name in found)

    assert passed(LEVEL / 3, LEVEL / 2, LEVEL) == [0, 1, 2]
    assert passed(LEVEL, LEVEL / 2, LEVEL / 3) == [0, 1, 2]
    assert passed(LEVEL / 2, LEVEL / 2, LEVEL) == []
    assert passed(LEVEL / 3, LEVEL, LEVEL) == [0]


def test_the_best_that_can_be_recommended_is() -> None:
    first, second = replace(better(), variant="A", statistic=3.0), replace(better(), variant="B", statistic=4.0)
    assert recommend({"dca": [first, second]})["dca"].variant == "B"
    assert recommend({"dca": [first, replace(second, reasons=("29 days",))]})["dca"].variant == "A"


def test_days_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="ML_OFF has 3 days, production 4"):
        compare(DailyResult(np.zeros(4), 0), {"ML_OFF": DailyResult(np.zeros(3), 0)}, 1)


def test_the_next_test_is_four_weeks_later() -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    assert (next_test(None), next_test(moment)) == (None, moment + timedelta(days=28))


def test_drawdown_counts_from_the_highest_before_and_from_the_start() -> None:
    assert DailyResult(np.array([-0.1, 0.3, -0.05, -0.15, 0.2]), 0).worst_drawdown == pytest.approx(0.2)
    assert DailyResult(np.array([-0.1, -0.1]), 0).worst_drawdown == pytest.approx(0.2)
    assert DailyResult(np.array([]), 0).worst_drawdown == 0.0
