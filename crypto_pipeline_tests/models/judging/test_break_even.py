"""Break-even probabilities: trades taken exactly at p* earn nothing, whatever the outcomes look like."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from crypto_pipeline.models.judging.break_even import LEAST, break_even


def outcomes(tier: str, count: int, *, default: bool, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    net = np.where(rng.random(count) < 0.45, rng.gamma(2, 0.02, count), -rng.gamma(3, 0.01, count))
    return pl.DataFrame(
        {"tier": tier, "y": (net > 0).astype(np.int8), "net_return": net, "is_default": default},
        schema_overrides={"tier": pl.String},
    )


def test_at_p_star_a_trade_earns_nothing() -> None:
    frame = outcomes("mid", 3_000, default=True)
    found = break_even(frame, ("mid",))["mid"]
    won, lost = frame.filter(pl.col("y") == 1)["net_return"], frame.filter(pl.col("y") == 0)["net_return"]
    assert found.p_star * won.mean() + (1 - found.p_star) * lost.mean() == pytest.approx(0, abs=1e-15)
    assert found.of == "default set"


def test_fewer_events_borrow_from_more() -> None:
    frame = pl.concat([
        outcomes("large", 400, default=True), outcomes("mid", 20, default=True, seed=1),
        outcomes("mid", 400, default=False, seed=2), outcomes("meme", LEAST, default=True, seed=3),
    ])  # fmt: skip
    found = break_even(frame, ("large", "mid", "meme"))
    assert {tier: each.of for tier, each in found.items()} == {
        "large": "default set", "mid": "all of the tier", "meme": "all tiers",
    }  # fmt: skip
    assert [each.events for each in found.values()] == [400, 420, 820 + LEAST]


def test_one_class_alone_has_none() -> None:
    assert break_even(outcomes("mid", 90, default=True).filter(pl.col("y") == 1), ("mid",)) == {}
