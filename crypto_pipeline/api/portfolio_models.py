"""What the routes of the portfolio are asked and answer, as OpenAPI describes it.

Sums of money are texts with all their digits: a JSON number would lose some of them in most programs. Shares are
numbers, not percent; times are UTC.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from crypto_pipeline.api.models import Time
from crypto_pipeline.labels.strategies.registry import Strategy

Money = Annotated[
    str,
    Field(pattern=r"^-?\d+(\.\d+)?$", examples=["10012.4500312"], description="Decimal in the account's currency."),
]
_Name = Annotated[str, Field(max_length=64)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PortfolioQuery(_Asked):
    """How much of the equity curve is wanted."""

    points: int = Field(200, ge=0, le=2_000, description="Most points of the equity curve; 0: none.")


class PositionsQuery(_Asked):
    """Which open positions."""

    strategy: Strategy | None = Field(None, description="Default: all.")
    instrument: _Name | None = Field(None, description="Default: all.")


class TradesQuery(PositionsQuery):
    """Which closed trades, those that were closed last first."""

    start: Time | None = Field(None, description="First moment of closing.")
    end: Time | None = Field(None, description="First moment of closing no longer included.")
    limit: int = Field(100, ge=1, le=1_000, description="Most rows of an answer.")
    offset: int = Field(0, ge=0, le=1_000_000, description="Rows to leave out, for the next page.")


class SignalsQuery(TradesQuery):
    """Which decided signals, the newest first."""

    start: Time | None = Field(None, description="First signal bar.")
    end: Time | None = Field(None, description="First signal bar no longer included.")
    decision: Literal["accepted", "rejected"] | None = Field(None, description="Default: both.")


class DrawdownAnswer(BaseModel):
    """The deepest fall from a highest value before."""

    depth: float
    peak: AwareDatetime
    trough: AwareDatetime
    recovered: AwareDatetime | None


class EquityFiguresAnswer(BaseModel):
    """Figures of the equity curve, on years of 365 days; null where there is too little to compute one from."""

    start: AwareDatetime
    end: AwareDatetime
    days: float
    start_equity: float
    end_equity: float
    total_return: float
    annual_return: float | None = Field(description="From 30 days on.")
    volatility: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    drawdown: DrawdownAnswer | None
    current_drawdown: float
    best_day: float | None
    worst_day: float | None
    mean_exposure: float
    most_exposure: float
    time_in_market: float


class TradeFiguresAnswer(BaseModel):
    """Figures of closed trades."""

    trades: int
    wins: int
    win_rate: float | None
    pnl: Money = Field(description="Net profits, after fees and slippage.")
    gross: Money = Field(description="The same before fees and slippage.")
    fees: Money
    slippage: Money = Field(description="What worse fills cost; a part of the prices.")
    turnover: Money
    expectancy: float | None = Field(description="Mean net return of a trade.")
    mean_win: float | None
    mean_loss: float | None
    profit_factor: float | None
    mean_hours: float | None
    outcomes: dict[str, int]


class EquityPoint(BaseModel):
    """The account at the end of a 15m bar."""

    moment: AwareDatetime
    equity: Money
    cash: Money
    positions: Money = Field(description="Value of what is held.")


class PortfolioAnswer(BaseModel):
    """The account, and what its trades have come to."""

    account: str
    currency: str
    state: Literal["ACTIVE", "REDUCING", "HALTED"]
    as_of: AwareDatetime | None = Field(description="End of the last bar that is booked; null: none is.")
    start: AwareDatetime | None = Field(description="When the account began.")
    capital: Money = Field(description="What it began with.")
    cash: Money
    reserved: Money = Field(description="Of cash: for orders that rest.")
    exposure: Money = Field(description="Value of what is held.")
    equity: Money = Field(description="Cash and exposure.")
    open_positions: int
    unrealised_pnl: Money
    realised_pnl: Money
    pnl_day: Money = Field(description="Since 00:00 UTC.")
    pnl_week: Money = Field(description="Since Monday 00:00 UTC.")
    figures: EquityFiguresAnswer | None
    trades: TradeFiguresAnswer
    by_strategy: dict[str, TradeFiguresAnswer]
    by_tier: dict[str, TradeFiguresAnswer]
    curve: list[EquityPoint]


class PositionAnswer(BaseModel):
    """An open position."""

    strategy: str
    instrument: str
    tier: str
    signal_ts: AwareDatetime = Field(description="Open of the signal bar.")
    entry_ts: AwareDatetime
    units: Money = Field(description="Of the base currency.")
    average_price: float | None = Field(description="Of the entries, before slippage; null: not entered yet.")
    price: float | None = Field(description="Last close.")
    spent: Money = Field(description="What its entries cost, fees included.")
    value: Money = Field(description="At the last close.")
    unrealised_pnl: Money
    fees: Money
    slippage: Money
    stop_loss_price: float | None
    take_profit_price: float | None
    orders_filled: int
    orders: int
    reserved: Money = Field(description="Cash for orders that rest.")
    risk: Money = Field(description="What is lost where it is stopped.")
    decision_price: float = Field(description="Close of the signal bar.")
    shortfall: float | None = Field(description="Entry against the decision price, as a share of it.")
    expires: AwareDatetime = Field(description="End of its last bar.")


class TradeAnswer(BaseModel):
    """A closed trade."""

    strategy: str
    instrument: str
    tier: str
    signal_ts: AwareDatetime
    entry_ts: AwareDatetime
    exit_ts: AwareDatetime
    outcome: str = Field(description="TP, SL or TIME.")
    average_price: float
    exit_price: float
    stop_loss_price: float
    take_profit_price: float | None
    orders_filled: int
    units: Money
    spent: Money = Field(description="Fees included.")
    received: Money = Field(description="After fees.")
    pnl: Money
    fees: Money
    slippage: Money
    net_return: float
    decision_price: float = Field(description="Close of the signal bar.")
    shortfall: float = Field(description="Entry against the decision price, as a share of it.")


class SignalAnswer(BaseModel):
    """A signal and what was decided about it."""

    strategy: str
    instrument: str
    tier: str
    signal_ts: AwareDatetime
    decided_at: AwareDatetime
    accepted: bool
    reason: str | None = Field(description="What rejected it; null: nothing.")
    value: float | None = Field(description="Of what rejected it.")
    threshold: float | None = Field(description="That it exceeded.")
    size: Money | None = Field(description="What all of its orders spend, fees apart; null: rejected.")
    bound_by: str | None = Field(description="What the size was bound by.")
    risk: Money
    equity: Money = Field(description="Of the account when it was decided.")
    free_cash: Money
    decision_price: float = Field(description="Close of the signal bar.")
    planned_stop: float
    planned_target: float
    stress: int | None
    regime: int | None
    ml_mode: str | None = Field(description="Null: there was no prediction.")
    probability: float | None
    p_star: float | None
    model_id: str | None
    params_hash: str = Field(description="Of the strategy's parameters.")
    parameters_hash: str = Field(description="Of the trading parameters.")


class PositionsAnswer(BaseModel):
    """Open positions."""

    as_of: AwareDatetime | None
    positions: list[PositionAnswer]


class ClosedTradesAnswer(BaseModel):
    """Closed trades."""

    trades: list[TradeAnswer]


class SignalsAnswer(BaseModel):
    """Decided signals."""

    signals: list[SignalAnswer]
