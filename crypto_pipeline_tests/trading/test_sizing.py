"""Sizes: the least of what risk, account, market and cash allow, and what multiplies it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from crypto_pipeline.features.definitions.regimes import Regime, Stress
from crypto_pipeline.trading.money import exact
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.sizing import SizeInputs, sized

P = TradingParameters()
CALM = SizeInputs(
    equity=Decimal(10_000), free_cash=Decimal(10_000), loss=0.2, day_volume=1e9, fee=0.0026, orders=1,
    stress=Stress.CALM, regime=Regime.BULL, volatility=0.03, strength=0.1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "quote", "bound_by"),
    [
        ({}, 750, "risk_per_trade"),  # 1.5 % of 10,000 is lost where a fifth of the size is
        ({"loss": 0.05}, 1_500, "max_position"),
        ({"day_volume": 20_000.0}, 200, "volume_share"),
        ({"free_cash": Decimal("100.26")}, 100, "free_cash"),
        ({"stress": Stress.CAUTION}, 375, "risk_per_trade"),
        ({"stress": Stress.CAUTION, "loss": 0.05}, 750, "max_position"),
        ({"stress": None}, 375, "risk_per_trade"),  # not known: as careful as CAUTION
        ({"drawn": True}, 375, "risk_per_trade"),
        ({"model_factor": 1.5}, 1_125, "risk_per_trade"),
        ({"model_factor": 1.5, "loss": 0.05}, 1_500, "max_position"),  # nothing lifts it above the greatest position
        ({"model_factor": 0.5, "loss": 0.05}, 750, "max_position"),
    ],
)
def test_the_least_binds(given: dict[str, object], quote: int, bound_by: str) -> None:
    size = sized(CALM._replace(**given), P)  # type: ignore[arg-type]
    assert (size.quote, size.bound_by) == (pytest.approx(Decimal(quote), abs=Decimal("1e-6")), bound_by)
    assert size.quote <= Decimal(quote)


def test_a_grid_is_of_equal_orders_that_are_the_size_together() -> None:
    size = sized(CALM._replace(orders=7), P)
    assert size.quote == size.order_sum * 7
    assert size.order_sum == Decimal("107.14285714")


def test_multipliers_are_1_by_default_and_stay_within_their_bounds() -> None:
    assert sized(CALM, P).factor == 1.0
    own = P.changed({"multipliers": {"regime": {"bull": 0.8}, "volatility_target": 0.015, "strength": 2.0}})
    assert sized(CALM, own).factor == pytest.approx(0.8 * 0.5 * 1.2)
    assert sized(CALM._replace(volatility=0.5, strength=-0.9), own).factor == pytest.approx(0.8 * 0.5 * 0.5)
    assert sized(CALM._replace(volatility=None, strength=None, regime=None), own).factor == 1.0


def test_a_variant_of_larger_size_may_hold_larger_positions() -> None:
    assert sized(CALM._replace(loss=0.05), P.changed({"size_factor": 1.5})).quote == Decimal(2_250)
    assert sized(CALM._replace(loss=0.05), P.changed({"size_factor": 0.5})).quote == Decimal(750)


def test_floats_become_the_decimals_that_print_the_same() -> None:
    assert exact(0.00000123) == Decimal("0.00000123")
    assert exact(0.1) + exact(0.2) == Decimal("0.3")
