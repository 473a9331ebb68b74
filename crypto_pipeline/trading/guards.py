"""Guards: what stops entries after losses, and until when. Pure functions of the account's marks and its equity.

- A loss of ``daily_loss`` since 00:00 UTC stops entries until the next day, of ``weekly_loss`` since Monday until the
  next Monday. Both resume by themselves, when they say.
- A drawdown of ``drawdown_halt`` below the high-water mark halts for ``drawdown_pause_hours``; afterwards entries are
  of reduced size (``drawdown_size``) while the drawdown lasts. It halts again when it was left and is reached again.
- A drawdown of ``drawdown_reset`` halts until a person resets it; nothing else moves the high-water mark down.

Equity is marked at the closes of bars. A guard is set off only at a moment at which equity fell apart from what trades
that ended with a gain gave back of it: a trade that won sets off no guard.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum

from crypto_pipeline.trading.account import AccountState, GuardState, TradeEnd, TradeKey
from crypto_pipeline.trading.money import share
from crypto_pipeline.trading.parameters import TradingParameters

_HOUR = 3_600_000
DAY_MS = 24 * _HOUR
WEEK_MS = 7 * DAY_MS
#: The first Monday after 1970-01-01.
_MONDAY = 4 * DAY_MS
#: So many of the last trades of each instrument are looked at.
ENDS_KEPT = 20


class TradingState(StrEnum):
    """What an account may do."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"  # open trades run to their ends; nothing is entered until the day or week is over
    HALTED = "HALTED"  # likewise, after a drawdown


def loss(mark: Decimal, equity: Decimal) -> float:
    """The part of ``mark`` that is lost; below 0: won."""
    return share(mark - equity, mark)


def trading_state(guards: GuardState, moment: int) -> TradingState:
    """The state at ``moment``."""
    if guards.needs_reset or moment < guards.halt_until:
        return TradingState.HALTED
    if moment < max(guards.daily_until, guards.weekly_until):
        return TradingState.REDUCING
    return TradingState.ACTIVE


def resumes_at(guards: GuardState, moment: int) -> int | None:
    """When entries are allowed again by themselves; None where they are, or where a person must reset first."""
    if guards.needs_reset:
        return None
    until = max(guards.daily_until, guards.weekly_until, guards.halt_until)
    return until if until > moment else None


def after_mark(guards: GuardState, moment: int, equity: Decimal, *, fell: bool, parameters: TradingParameters) -> float:
    """Bring ``guards`` to ``moment``, at which the account is worth ``equity``; returns the drawdown.

    ``fell``: see the module.
    """
    if moment % DAY_MS == 0:
        guards.day_mark = equity
    if (moment - _MONDAY) % WEEK_MS == 0:
        guards.week_mark = equity
    if equity >= guards.high_water:
        guards.high_water = equity
        guards.drawn = False
        return 0.0
    drawdown = loss(guards.high_water, equity)
    if drawdown < parameters.drawdown_halt:
        guards.drawn = False
    if not fell:
        return drawdown
    if loss(guards.day_mark, equity) >= parameters.daily_loss:
        guards.daily_until = moment - moment % DAY_MS + DAY_MS
    if loss(guards.week_mark, equity) >= parameters.weekly_loss:
        guards.weekly_until = moment - (moment - _MONDAY) % WEEK_MS + WEEK_MS
    if drawdown >= parameters.drawdown_halt and not guards.drawn:
        guards.drawn, guards.halt_until = True, moment + int(parameters.drawdown_pause_hours * _HOUR)
    if drawdown >= parameters.drawdown_reset:
        guards.needs_reset = True
    return drawdown


def reset(guards: GuardState, equity: Decimal) -> None:
    """What a person's reset does: the high-water mark is what the account is worth now, and no halt is left."""
    guards.high_water, guards.halt_until, guards.drawn, guards.needs_reset = equity, 0, False, False


def note_end(state: AccountState, key: TradeKey, tier: str, *, stopped: bool, moment: int) -> None:
    """Put the end of a trade among the last ones of its instrument."""
    ends = state.ends.get(key.instrument, ())
    kept = sorted((*ends, TradeEnd(moment, key.order, stopped, tier)))
    state.ends[key.instrument] = tuple(kept[-ENDS_KEPT:])


def forget_end(state: AccountState, key: TradeKey) -> None:
    """The trade has not ended after all."""
    state.ends[key.instrument] = tuple(end for end in state.ends.get(key.instrument, ()) if end.order != key.order)


def stops_in_row(ends: Sequence[TradeEnd], parameters: TradingParameters) -> int:
    """How many of the last trades of an instrument were stopped in a row, counted up to the limit."""
    count = 0
    for end in reversed(ends):
        if not end.stopped or count == parameters.stops_in_row:
            break
        count += 1
    return count


def cooldown_until(ends: Sequence[TradeEnd], parameters: TradingParameters) -> int:
    """Until when an instrument cools down after its last stop; 0: it had none."""
    last = next((end for end in reversed(ends) if end.stopped), None)
    return 0 if last is None else last.exit_ts + int(parameters.cooldown_hours.of(last.tier) * _HOUR)


def banned_until(ends: Sequence[TradeEnd], parameters: TradingParameters) -> int:
    """Until when an instrument is banned after its last stops in a row; 0: it is not.

    A ban outlasts what ends meanwhile: each stop that completes a row bans from its end on.
    """
    if not any(end.stopped for end in ends):
        return 0
    for place in range(len(ends), 0, -1):
        if ends[place - 1].stopped and stops_in_row(ends[:place], parameters) >= parameters.stops_in_row:
            return ends[place - 1].exit_ts + int(parameters.ban_hours * _HOUR)
    return 0
