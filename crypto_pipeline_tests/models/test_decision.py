"""What follows from a probability, by mode: nothing, a size, or whether to trade at all."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.decision import MARGIN, decide, modes
from crypto_pipeline.settings import MlMode, Settings, SettingsError


@pytest.mark.parametrize(
    ("mode", "probability", "decision", "size"),
    [
        ("off", 0.01, "take", 1.0), ("off", 0.99, "take", 1.0),
        ("boost", 0.40, "take", 1.0), ("boost", 0.44, "take", 1.2), ("boost", 0.5, "take", 1.5),
        ("boost", 0.9, "take", 1.5), ("boost", 0.35, "take", 0.75), ("boost", 0.1, "take", 0.5),
        ("gate", 0.40 + MARGIN, "take", 1.0), ("gate", 0.4299, "skip", 1.0), ("gate", 0.1, "skip", 1.0),
    ],
)  # fmt: skip
def test_decisions(mode: MlMode, probability: float, decision: str, size: float) -> None:
    found = decide(mode, probability, 0.4)
    assert (found.decision, found.size_factor) == (decision, pytest.approx(size))


def test_every_strategy_has_a_mode_and_wrong_ones_are_named() -> None:
    chosen = modes(Settings(ml_mode={"dca": "gate"}).ml_mode)
    assert chosen == {Strategy.DCA: "gate", Strategy.SWING: "boost", Strategy.CHANNEL: "boost"}
    with pytest.raises(SettingsError, match=r"ml_mode\.golf: use one of dca, swing, channel"):
        modes({"golf": "off"})
    with pytest.raises(ValidationError, match=r"ml_mode\.dca"):
        Settings(ml_mode={"dca": "always"})  # type: ignore[dict-item]
