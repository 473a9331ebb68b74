"""Trading parameters: what a setting may say, and what a hash tells apart."""

from __future__ import annotations

from decimal import Decimal

import pytest

from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.settings import SettingsError, load_settings
from crypto_pipeline.trading.parameters import TradingParameters, trailing_distance
from crypto_pipeline.trading.stored.production import settings_parameters


def test_settings_give_the_parameters_of_production() -> None:
    plain = settings_parameters(load_settings())
    assert plain == TradingParameters()
    own = settings_parameters(load_settings(paper_capital=500, trading_parameters={"max_open": 3, "daily_loss": 0.03}))
    assert (own.capital, own.max_open, own.daily_loss) == (Decimal(500), 3, 0.03)
    assert len({plain.hash, own.hash, plain.changed({"max_open": 4}).hash}) == 3
    assert plain.changed({}).hash == plain.hash


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_opn": 3}, r"trading_parameters\.max_opn=3: Extra inputs are not permitted; parameters are capital, "),
        ({"daily_loss": 5}, r"trading_parameters\.daily_loss=5: Input should be less than 1"),
        ({"cooldown_hours": {"large": 1}}, r"trading_parameters\.cooldown_hours\.mid="),
    ],
)
def test_a_wrong_setting_is_one_clear_line(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        settings_parameters(load_settings(trading_parameters=wrong))
    assert "\n" not in str(refused.value)


def test_only_what_is_changed_of_a_strategy_differs() -> None:
    sets = parameter_sets({})["default"]
    for strategy, parameters in sets.items():
        assert TradingParameters().strategy_parameters(strategy, parameters) is parameters
        quick = TradingParameters(horizon_hours=24).strategy_parameters(strategy, parameters)
        assert quick.horizon == 96
        assert quick.model_copy(update={"horizon": parameters.horizon}) == parameters
    three = TradingParameters(dca_orders=3).strategy_parameters(Strategy.DCA, sets[Strategy.DCA])
    assert three.model_dump()["orders"] == 3
    assert trailing_distance(Strategy.CHANNEL, "meme", sets[Strategy.CHANNEL].exits) == 0.01
