"""How large a trade is: the least of what its risk, the account, the market and the free cash allow."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from crypto_pipeline.features.definitions.regimes import Regime, Stress
from crypto_pipeline.trading.money import constant, exact, size_down, times
from crypto_pipeline.trading.parameters import Multipliers, TradingParameters

_ONE = Decimal(1)


class SizeInputs(NamedTuple):
    """What a size is made from. ``loss``: the part of the size that is lost at the stop, costs included.

    ``model_factor``: what the model asks for (1: nothing). ``drawn``: a drawdown lasts whose halt is over.
    """

    equity: Decimal
    free_cash: Decimal
    loss: float
    day_volume: float
    fee: float
    orders: int
    stress: int | None
    regime: int | None
    volatility: float | None
    strength: float | None
    model_factor: float = 1.0
    drawn: bool = False


class Size(NamedTuple):
    """The size of a trade (what all its orders spend, fees apart), each order's part, what bound it, and the factor
    of multipliers, caution and model together.
    """

    quote: Decimal
    order_sum: Decimal
    bound_by: str
    factor: float


def sized(inputs: SizeInputs, parameters: TradingParameters) -> Size:
    """The size by ``parameters``; it may be below ``min_order``, which another place rejects.

    The factors multiply what risk and the greatest position allow; neither they nor the model lift a size above the
    greatest position, which only ``size_factor`` moves.
    """
    if not parameters.limits:
        return _whole(parameters.order_size, inputs.orders, "order_size", 1.0)
    p, factor = parameters, multiplier(inputs, parameters)
    position = times(inputs.equity, constant(p.max_position))
    by_risk = times(inputs.equity, constant(p.risk_per_trade)) / exact(max(inputs.loss, 1e-6))
    scale = exact(factor * p.size_factor)
    choices = {
        "risk_per_trade": times(by_risk, scale),
        "max_position": times(position, min(scale, max(_ONE, constant(p.size_factor)))),
        "volume_share": times(exact(inputs.day_volume), constant(p.volume_share)),
        "free_cash": inputs.free_cash / (_ONE + constant(inputs.fee)),
    }
    bound_by = min(choices, key=lambda name: choices[name])
    return _whole(max(choices[bound_by], Decimal(0)), inputs.orders, bound_by, factor)


def multiplier(inputs: SizeInputs, parameters: TradingParameters) -> float:
    """The product of caution, drawdown, model and the adaptive multipliers."""
    m = parameters.multipliers
    caution = inputs.stress is None or inputs.stress == Stress.CAUTION
    factor = parameters.caution_size if caution else 1.0
    if inputs.drawn:
        factor *= parameters.drawdown_size
    factor *= float(inputs.model_factor**m.confidence)
    return factor * _regime(inputs.regime, m) * _volatility(inputs.volatility, m) * _strength(inputs.strength, m)


def _regime(regime: int | None, m: Multipliers) -> float:
    name = "unknown" if regime is None else Regime(regime).name.lower()
    value: float = getattr(m.regime, name)
    return value


def _volatility(volatility: float | None, m: Multipliers) -> float:
    if m.volatility_target is None or volatility is None or volatility <= 0:
        return 1.0
    return _within(m.volatility_target / volatility, m)


def _strength(strength: float | None, m: Multipliers) -> float:
    if not m.strength or strength is None:
        return 1.0
    return _within(1.0 + m.strength * strength, m)


def _within(value: float, m: Multipliers) -> float:
    return min(max(value, m.smallest), m.largest)


def _whole(quote: Decimal, orders: int, bound_by: str, factor: float) -> Size:
    each = size_down(quote / orders)
    return Size(each * orders, each, bound_by, factor)
