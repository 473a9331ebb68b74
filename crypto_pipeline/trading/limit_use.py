"""How much of each limit an account uses, and what binds now. A function of the account's state and its parameters."""

from __future__ import annotations

from dataclasses import dataclass

from crypto_pipeline.trading.account import AccountState
from crypto_pipeline.trading.guards import banned_until, cooldown_until, loss, stops_in_row
from crypto_pipeline.trading.money import share, unrounded
from crypto_pipeline.trading.parameters import TradingParameters

_HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class LimitUse:
    """One limit: what is ``used`` of what is ``allowed``; ``binds``: nothing more is entered because of it now.

    ``until``: when it lets go by itself, Unix milliseconds; None: it does not bind, or not by time. ``instrument``: of
    limits that stand for one instrument.
    """

    limit: str
    used: float
    allowed: float
    binds: bool
    until: int | None = None
    instrument: str | None = None


def limit_uses(state: AccountState, parameters: TradingParameters) -> list[LimitUse]:
    """Every limit of the account after its last moment, then those that bind single instruments."""
    with unrounded():
        return [*_of_account(state, parameters), *_of_instruments(state, parameters)]


def _of_account(state: AccountState, p: TradingParameters) -> list[LimitUse]:
    guards, moment, equity = state.guards, state.moment, state.equity
    exposure, risk = share(state.exposure, equity), share(state.open_risk, equity)
    drawdown = loss(guards.high_water, equity)

    def blocked(until: int) -> tuple[bool, int | None]:
        return moment < until, until if moment < until else None

    return [
        LimitUse("drawdown_reset", max(drawdown, 0.0), p.drawdown_reset, guards.needs_reset),
        LimitUse("drawdown_halt", max(drawdown, 0.0), p.drawdown_halt, *blocked(guards.halt_until)),
        LimitUse("weekly_loss", max(loss(guards.week_mark, equity), 0.0), p.weekly_loss, *blocked(guards.weekly_until)),
        LimitUse("daily_loss", max(loss(guards.day_mark, equity), 0.0), p.daily_loss, *blocked(guards.daily_until)),
        LimitUse("max_open", float(len(state.open)), float(p.max_open), len(state.open) >= p.max_open),
        LimitUse("max_exposure", exposure, p.max_exposure, exposure >= p.max_exposure),
        LimitUse("max_open_risk", risk, p.max_open_risk, risk >= p.max_open_risk),
    ]


def _of_instruments(state: AccountState, p: TradingParameters) -> list[LimitUse]:
    found, held = [], [key.instrument for key in state.open]
    for name in sorted({*held, *state.ends}):
        if (own := held.count(name)) >= p.per_instrument:
            found.append(LimitUse("per_instrument", float(own), float(p.per_instrument), True, None, name))
        ends = state.ends.get(name, ())
        if (until := banned_until(ends, p)) > state.moment:
            used = float(stops_in_row(ends, p))
            found.append(LimitUse("stops_in_row", used, float(p.stops_in_row), True, until, name))
        if (until := cooldown_until(ends, p)) > state.moment:
            hours = p.cooldown_hours.of(ends[-1].tier)
            found.append(LimitUse("cooldown", hours - (until - state.moment) / _HOUR, hours, True, until, name))
    return found
