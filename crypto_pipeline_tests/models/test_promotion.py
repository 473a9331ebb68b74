"""The test of promotion, condition by condition. `bench/models.py --promotion` runs it on 200 histories."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.promotion import PromotionDecision, decide
from crypto_pipeline.models.safeguards.finding import ModelFinding
from crypto_pipeline.models.training import Trained, train
from crypto_pipeline_tests.builders.model_events import Market, events, settings_of

CHECKS = {"leak": True, "parity": True}
BEGIN = datetime(2026, 5, 1, tzinfo=UTC)


def holdout(knows: float = 1.0, count: int = 2_000, seed: int = 0, gain: float = 0.03) -> pl.DataFrame:
    """A hold-out of 28 days: ``knows`` is the share of the truth that the model's probabilities follow."""
    rng = np.random.default_rng(3)
    truth = np.clip(rng.normal(0.45, 0.15, count), 0.05, 0.95)
    y = rng.random(count) < truth
    at = np.sort(rng.uniform(0, 28, count))
    noise = np.clip(np.random.default_rng([seed, 9]).normal(0.45, 0.15, count), 0.05, 0.95)
    probability = knows * truth + (1 - knows) * (0.5 * 0.45 + 0.5 * noise)
    signal = [BEGIN + timedelta(days=float(day)) for day in at]
    return pl.DataFrame(
        {
            "instrument": [f"C{number}" for number in range(count)], "signal_ts": signal,
            "available_at": signal, "y": y.astype(np.int8), "net_return": np.where(y, gain, -0.03),
            "tier": "mid", "is_default": np.arange(count) % 10 > 0, "probability": probability, "base_rate": 0.45,
            "p_star": 0.5, "take": probability >= 0.53,
        }
    )  # fmt: skip


def decided(challenger: pl.DataFrame, incumbent: pl.DataFrame | None = None, **given: Any) -> PromotionDecision:
    return decide(challenger, incumbent, **({"checks": CHECKS, "seen_until": BEGIN - timedelta(days=1)} | given))


def test_a_first_model_that_knows_the_truth_is_promoted_with_all_figures() -> None:
    found = decided(holdout())
    assert found.reasons == ()
    assert found.promote
    figures = found.figures
    assert figures["log_loss_lower"] >= 0.95
    assert figures["expectancy"] > 0 > figures["expectancy_to_beat"]
    assert figures["challenger"]["rows"] == holdout()["is_default"].sum()
    assert figures["incumbent"] is None
    assert figures["checks"] == CHECKS


def test_events_beside_the_default_set_do_not_judge() -> None:
    spoiled = holdout().with_columns(
        pl.when("is_default").then("probability").otherwise(0.999).alias("probability"),
        pl.when("is_default").then("net_return").otherwise(-9.0).alias("net_return"),
    )
    assert decided(spoiled).figures == decided(holdout()).figures


def test_a_better_model_replaces_a_worse_one_and_not_the_other_way_round() -> None:
    better, worse = holdout(), holdout(knows=0)
    assert decided(better, worse).promote
    refused = decided(worse, better)
    assert not refused.promote
    assert "log-loss is lower than that of the incumbent with a probability of 0.000" in refused.reasons[0]
    assert refused.figures["incumbent"]["log_loss"] == pytest.approx(
        decided(better, worse).figures["challenger"]["log_loss"]
    )
    assert not decided(better, better).promote


@pytest.mark.parametrize(
    ("change", "given", "reason"),
    [
        ({}, {"checks": {"leak": True}}, "check parity"),
        ({}, {"checks": CHECKS | {"overlap": False}}, "check overlap"),
        ({}, {"findings": (ModelFinding("too_good_to_be_true", "auc", 0.9, 0.85, "auc is 0.9"),)}, "auc is 0.9"),
        ({}, {"seen_until": BEGIN + timedelta(days=2)}, "learned from data until"),
        ({"net_return": pl.col("net_return") - 0.05}, {}, "not more than 0"),
        ({"take": pl.lit(value=False)}, {}, "no trade"),
        ({"probability": (pl.col("probability") - 0.45) * 3 + 0.45}, {}, "calibration error"),
        ({"probability": pl.lit(0.45)}, {}, "log-loss"),
        ({"is_default": pl.int_range(pl.len()) < 99}, {}, "99 events of the default set"),
        ({"net_return": pl.when("take").then(0.01).otherwise(0.5)}, {}, "those of the base rate and rules alone"),
    ],
)  # fmt: skip
def test_each_condition_alone_refuses(change: dict[str, pl.Expr], given: dict[str, Any], reason: str) -> None:
    found = decided(holdout().with_columns(**{name: each.clip(0.01, 0.99) if name == "probability" else each
                                              for name, each in change.items()}), **given)  # fmt: skip
    assert not found.promote
    assert any(reason in each for each in found.reasons), found.reasons


def test_findings_that_do_not_block_are_shown_and_let_pass() -> None:
    finding = ModelFinding("input_drift", "body", 2.0, 1.0, "drifted", blocks=False)
    found = decided(holdout(), findings=(finding,))
    assert found.promote
    assert found.figures["findings"] == [finding.to_document()]


def test_the_same_rows_in_any_order_decide_the_same() -> None:
    shuffled = holdout().sample(fraction=1, shuffle=True, seed=4)
    assert decided(shuffled, holdout(0.3)) == decided(holdout(), holdout(0.3))


def test_other_events_are_refused() -> None:
    with pytest.raises(ValueError, match="same events"):
        decided(holdout(), holdout().head(500))
    assert decided(holdout().clear()).reasons == ("the hold-out has no events of the default set",)


def history(market: Market) -> PromotionDecision:
    found = train(events(market), Strategy.SWING, settings_of(market, 30))
    assert isinstance(found, Trained), found
    return decide(found.holdout, None, checks=CHECKS, findings=found.findings, seen_until=found.model.trained_until)


@pytest.mark.parametrize("seed", range(3))
def test_a_random_walk_promotes_nothing(seed: int) -> None:
    assert not history(Market(seed=seed)).promote


def test_a_planted_signal_is_promoted() -> None:
    found = history(Market(seed=2, signal=0.12, common=0.05, instruments=110, default_share=0.9))
    assert found.promote, found.reasons
