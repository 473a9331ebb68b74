"""What is entered and what is not: every limit, guard and cooldown as one list of checks.

The checks are tried in the order of ``LIMITS``; the first that a signal fails is its rejection, with what was found and
what is allowed.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import NamedTuple

from crypto_pipeline.features.definitions.regimes import Stress
from crypto_pipeline.models.decision import MARGIN, RULES_ALONE, MlDecision, decide
from crypto_pipeline.settings import MlMode
from crypto_pipeline.trading.account import AccountState
from crypto_pipeline.trading.guards import banned_until, cooldown_until, loss, stops_in_row
from crypto_pipeline.trading.money import ZERO, constant, exact, product, share, times
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.sizing import Size, SizeInputs, sized

#: Every limit, in the order in which they are tried.
LIMITS = (
    "currency", "model", "drawdown_reset", "drawdown_halt", "weekly_loss", "daily_loss", "panic", "stops_in_row",
    "cooldown", "per_instrument", "max_open", "min_order", "max_exposure", "max_open_risk",
)  # fmt: skip
_HOUR = 3_600_000


class Candidate(NamedTuple):
    """A signal at its decision. ``loss``: the part of the size that is lost at the stop; ``orders``: of its grid."""

    loss: float
    orders: int
    fee: float
    strategy: str
    instrument: str
    tier: str
    day_volume: float
    stress: int | None
    regime: int | None
    volatility: float | None
    strength: float | None
    ml_mode: MlMode | None
    probability: float | None
    p_star: float | None


@cache
def quote_of(instrument: str) -> str:
    """The quote asset of a canonical name: ``USDT`` of ``BTC-USDT`` and of ``BTC-USDT@kraken``; else empty."""
    return instrument.partition("@")[0].rpartition("-")[2] if "-" in instrument else ""


class LimitHit(NamedTuple):
    """Why a signal is not entered: the limit, what was found, and what is allowed.

    Of ``currency``, what is found is 0: the instrument is quoted in another asset than the account keeps.
    """

    limit: str
    value: float
    threshold: float


class Verdict(NamedTuple):
    """What is decided of a signal: its size where it is taken, else what speaks against it. ``risk``: lost at the
    stop.
    """

    rejection: LimitHit | None
    size: Size | None
    risk: Decimal
    model_factor: float
    free_cash: Decimal


def judge(candidate: Candidate, state: AccountState, moment: int, parameters: TradingParameters) -> Verdict:
    """Decide a signal of ``moment`` in the account as it stands then, everything of the moment booked and marked."""
    said = of_model(candidate, parameters)
    free = state.cash - state.reserved
    hit = _before_size(candidate, said, state, moment, parameters) if parameters.limits else None
    if hit is not None:
        return Verdict(hit, None, ZERO, said.size_factor, free)
    size = sized(_inputs(candidate, said, state, moment, free), parameters)
    risk = product(size.quote, exact(max(candidate.loss, 0.0)))
    hit = _after_size(size, risk, state, parameters) if parameters.limits else None
    return Verdict(hit, size if hit is None else None, risk, said.size_factor, free)


def of_model(candidate: Candidate, parameters: TradingParameters) -> MlDecision:
    """What the model makes of a signal; without a usable prediction the rules alone decide."""
    c = candidate
    if not parameters.ml or c.ml_mode is None or c.probability is None or c.p_star is None:
        return RULES_ALONE
    return decide(c.ml_mode, c.probability, c.p_star + parameters.threshold_shift)


def _inputs(c: Candidate, said: MlDecision, state: AccountState, moment: int, free: Decimal) -> SizeInputs:
    drawn = state.guards.drawn and moment >= state.guards.halt_until
    return SizeInputs(
        equity=state.equity, free_cash=free, loss=c.loss, day_volume=c.day_volume, fee=c.fee, orders=c.orders,
        stress=c.stress, regime=c.regime, volatility=c.volatility, strength=c.strength,
        model_factor=said.size_factor, drawn=drawn,
    )  # fmt: skip


def _before_size(
    c: Candidate, said: MlDecision, state: AccountState, moment: int, p: TradingParameters
) -> LimitHit | None:
    if quote_of(c.instrument) != p.currency:
        return LimitHit("currency", 0.0, 1.0)
    if said.decision == "skip":
        assert c.probability is not None
        assert c.p_star is not None
        return LimitHit("model", c.probability, c.p_star + p.threshold_shift + MARGIN)
    return _guarded(state, moment, p) or _cooling(c, state, moment, p) or _counted(c, state, p)


def _guarded(state: AccountState, moment: int, p: TradingParameters) -> LimitHit | None:
    guards, equity = state.guards, state.equity
    if guards.needs_reset:
        return LimitHit("drawdown_reset", loss(guards.high_water, equity), p.drawdown_reset)
    if moment < guards.halt_until:
        return LimitHit("drawdown_halt", loss(guards.high_water, equity), p.drawdown_halt)
    if moment < guards.weekly_until:
        return LimitHit("weekly_loss", loss(guards.week_mark, equity), p.weekly_loss)
    if moment < guards.daily_until:
        return LimitHit("daily_loss", loss(guards.day_mark, equity), p.daily_loss)
    return None


def _cooling(c: Candidate, state: AccountState, moment: int, p: TradingParameters) -> LimitHit | None:
    if c.stress == Stress.PANIC:
        return LimitHit("panic", float(Stress.PANIC), float(Stress.CAUTION))
    ends = state.ends.get(c.instrument)
    if ends is None:
        return None
    if moment < banned_until(ends, p):
        return LimitHit("stops_in_row", float(stops_in_row(ends, p)), float(p.stops_in_row))
    if moment < (until := cooldown_until(ends, p)):
        hours = p.cooldown_hours.of(c.tier)
        return LimitHit("cooldown", hours - (until - moment) / _HOUR, hours)
    return None


def _counted(c: Candidate, state: AccountState, p: TradingParameters) -> LimitHit | None:
    own = sum(key.instrument == c.instrument for key in state.open)
    if own >= p.per_instrument:
        return LimitHit("per_instrument", float(own), float(p.per_instrument))
    if len(state.open) >= p.max_open:
        return LimitHit("max_open", float(len(state.open)), float(p.max_open))
    return None


def _after_size(size: Size, risk: Decimal, state: AccountState, p: TradingParameters) -> LimitHit | None:
    if size.quote < p.min_order or not size.order_sum:
        return LimitHit("min_order", float(size.quote), float(p.min_order))
    exposure, at_risk = state.exposure + size.quote, state.open_risk + risk
    if exposure > times(state.equity, constant(p.max_exposure)):
        return LimitHit("max_exposure", share(exposure, state.equity), p.max_exposure)
    if at_risk > times(state.equity, constant(p.max_open_risk)):
        return LimitHit("max_open_risk", share(at_risk, state.equity), p.max_open_risk)
    return None
