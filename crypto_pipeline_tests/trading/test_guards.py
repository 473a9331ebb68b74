"""Guards: what sets them off and what does not, when they let go, from which mark they measure."""

from __future__ import annotations

from decimal import Decimal

from crypto_pipeline.trading.account import AccountState, GuardState, TradeEnd, TradeKey
from crypto_pipeline.trading.guards import (
    DAY_MS,
    WEEK_MS,
    TradingState,
    after_mark,
    banned_until,
    cooldown_until,
    note_end,
    reset,
    resumes_at,
    trading_state,
)
from crypto_pipeline.trading.limit_use import limit_uses
from crypto_pipeline.trading.parameters import TradingParameters

P = TradingParameters()
QUARTER, HOUR = 900_000, 3_600_000
MONDAY = 4 * DAY_MS + 2_900 * WEEK_MS
NOON = MONDAY + DAY_MS + 12 * HOUR


def guards(mark: int = 10_000) -> GuardState:
    return GuardState(Decimal(mark), Decimal(mark), Decimal(mark))


def marked(state: GuardState, moment: int, equity: int, *, fell: bool = True) -> GuardState:
    after_mark(state, moment, Decimal(equity), fell=fell, parameters=P)
    return state


def test_a_daily_loss_blocks_until_the_next_day_and_resumes_by_itself() -> None:
    state = marked(guards(), NOON, 9_500)
    midnight = MONDAY + 2 * DAY_MS
    assert (trading_state(state, NOON), resumes_at(state, NOON)) == (TradingState.REDUCING, midnight)
    marked(state, NOON + QUARTER, 9_900, fell=False)  # what is won back opens nothing before
    assert trading_state(state, midnight - QUARTER) == TradingState.REDUCING
    marked(state, midnight, 9_480, fell=True)  # measured from the mark of the new day
    assert trading_state(state, midnight) == TradingState.ACTIVE
    assert state.day_mark == 9_480


def test_a_weekly_loss_blocks_until_monday() -> None:
    state = guards()
    for day in range(1, 4):  # three days of 4 %: no day alone is enough
        marked(state, MONDAY + day * DAY_MS, 10_000 - 400 * (day - 1))
        marked(state, MONDAY + day * DAY_MS + HOUR, 10_000 - 400 * day)
    assert state.daily_until == 0
    assert resumes_at(state, NOON) == MONDAY + WEEK_MS
    assert trading_state(state, MONDAY + WEEK_MS) == TradingState.ACTIVE


def test_a_drawdown_halts_for_its_pause_then_trades_smaller_and_halts_again_only_when_left_and_reached() -> None:
    state = marked(guards(), NOON, 8_400)
    until = NOON + int(P.drawdown_pause_hours) * HOUR
    assert (trading_state(state, NOON), state.halt_until) == (TradingState.HALTED, until)
    state.day_mark = state.week_mark = Decimal(8_300)
    marked(state, until, 8_300)
    assert trading_state(state, until) == TradingState.ACTIVE  # it resumes, though the drawdown lasts
    assert state.drawn  # and entries are of reduced size
    marked(state, until + QUARTER, 8_800, fell=False)
    assert not state.drawn
    marked(state, until + HOUR, 8_450)
    assert state.halt_until == until + HOUR + int(P.drawdown_pause_hours) * HOUR


def test_a_deep_drawdown_waits_for_a_person_and_only_a_reset_lowers_the_mark() -> None:
    state = marked(guards(), NOON, 8_000)
    later = NOON + 52 * WEEK_MS
    state.day_mark = state.week_mark = Decimal(8_100)
    marked(state, later, 8_100, fell=False)
    assert (state.high_water, trading_state(state, later), resumes_at(state, later)) == (10_000, "HALTED", None)
    reset(state, Decimal(8_100))
    marked(state, later + QUARTER, 8_090)
    assert (state.high_water, trading_state(state, later + QUARTER)) == (8_100, TradingState.ACTIVE)


def test_a_trade_that_won_sets_off_no_guard() -> None:
    """It may give back a part of what it was worth at the mark before: equity falls, but nothing was lost by it."""
    state = marked(guards(12_000), NOON, 9_000, fell=False)
    assert trading_state(state, NOON) == TradingState.ACTIVE
    marked(state, NOON + QUARTER, 8_990, fell=True)
    assert trading_state(state, NOON + QUARTER) == TradingState.HALTED


def account(*ends: TradeEnd) -> AccountState:
    return AccountState(NOON, Decimal(10_000), Decimal(10_000), guards(), ends={"ARB-USDT": ends})


def end(hours: float, *, stopped: bool, tier: str = "mid") -> TradeEnd:
    return TradeEnd(NOON + int(hours * HOUR), (NOON, 0, "ARB-USDT"), stopped, tier)


def test_a_stop_cools_its_instrument_down_by_tier_and_three_in_a_row_ban_it() -> None:
    for tier, hours in (("large", 4), ("mid", 6), ("meme", 24)):
        assert cooldown_until([end(0, stopped=True, tier=tier)], P) == NOON + hours * HOUR
    assert cooldown_until([end(0, stopped=False)], P) == 0
    two = [end(0, stopped=True), end(1, stopped=True)]
    assert banned_until(two, P) == 0
    assert banned_until([*two, end(2, stopped=True)], P) == NOON + 26 * HOUR
    assert banned_until([two[0], end(0.5, stopped=False), two[1], end(2, stopped=True)], P) == 0
    # a trade that wins meanwhile ends no ban
    assert banned_until([*two, end(2, stopped=True), end(3, stopped=False)], P) == NOON + 26 * HOUR


def test_ends_are_kept_in_their_own_order() -> None:
    state = account()
    for hours, stopped in ((3, True), (1, False), (2, True)):
        key = TradeKey("dca", "ARB-USDT", NOON + int(hours * HOUR) - 1)
        note_end(state, key, "mid", stopped=stopped, moment=NOON + int(hours * HOUR))
    assert [one.exit_ts for one in state.ends["ARB-USDT"]] == [NOON + hours * HOUR for hours in (1, 2, 3)]


def test_what_binds_is_told() -> None:
    state = account(end(-1, stopped=True))
    marked(state.guards, NOON, 9_500)
    state.equity = Decimal(9_500)
    uses = {(one.limit, one.instrument): one for one in limit_uses(state, P)}
    assert uses["daily_loss", None].binds
    assert uses["daily_loss", None].used == 0.05
    cooling = uses["cooldown", "ARB-USDT"]
    assert (cooling.used, cooling.allowed, cooling.until) == (1.0, 6.0, NOON + 5 * HOUR)
    assert [one.limit for one in uses.values() if one.binds] == ["daily_loss", "cooldown"]
