"""Frames that a simulation gives: decisions, orders, fills, trades, postings and equity. Times are UTC.

Sums of money and amounts are decimals of 18 places, prices floats as they stand in bars. ``number`` counts the events
of one trade from 0, reversals included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.trading.money import PLACES

MONEY = pl.Decimal(38, PLACES)
_KEY: dict[str, pl.DataType] = {"strategy": pl.String(), "instrument": pl.String(), "signal_ts": UTC_MS}

#: One row per signal: taken or not, with all that it was decided from beside the signal itself.
DECISION_SCHEMA: dict[str, pl.DataType] = {
    **_KEY,
    "moment": UTC_MS,  # close of the signal bar
    "tier": pl.String(),
    "taken": pl.Boolean(),
    "limit_name": pl.String(),  # what rejected it; null: taken
    "limit_value": pl.Float64(),  # what was found
    "limit_threshold": pl.Float64(),  # what is allowed
    "decision_price": pl.Float64(),
    "planned_stop": pl.Float64(),
    "planned_target": pl.Float64(),
    "planned_loss": pl.Float64(),  # part of the size that is lost at the stop, with costs
    "size": MONEY,  # what all orders together spend, fees apart; null: rejected
    "order_sum": MONEY,  # each of them
    "orders": pl.Int64(),
    "risk": MONEY,
    "bound_by": pl.String(),  # what the size was bound by
    "size_factor": pl.Float64(),  # all multipliers together
    "model_factor": pl.Float64(),
    "equity": MONEY,
    "free_cash": MONEY,
    "parameters_hash": pl.String(),  # of the trading parameters
}
#: What happened to orders: placed, filled, cancelled. ``order_number``: 0 the entry, then the grid, then take profit
#: and stop.
ORDER_SCHEMA: dict[str, pl.DataType] = {
    **_KEY,
    "order_number": pl.Int64(),
    "event": pl.String(),
    "moment": UTC_MS,
    "use": pl.String(),
    "price": pl.Float64(),  # the limit or stop; null: at the market
    "quote": MONEY,  # what a purchase spends; null: sells all
}
FILL_SCHEMA: dict[str, pl.DataType] = {
    **_KEY,
    "number": pl.Int64(),
    "reverses": pl.Int64(),  # number of the event that is taken back
    "moment": UTC_MS,  # when it was booked
    "bar_ts": UTC_MS,  # open of the bar in which it happened
    "use": pl.String(),
    "raw_price": pl.Float64(),  # before slippage
    "price": MONEY,  # after it
    "units": MONEY,  # bought; below 0: sold
    "quote": MONEY,  # units x price
    "fee": MONEY,
    "slippage": MONEY,
}
TRADE_SCHEMA: dict[str, pl.DataType] = {
    **_KEY,
    "revision": pl.Int64(),  # 0; one more for each rebooking
    "tier": pl.String(),
    "entry_ts": UTC_MS,
    "exit_ts": UTC_MS,  # close of the bar in which it ended
    "outcome": pl.String(),  # TP, SL, TIME
    "ambiguous": pl.String(),
    "orders_filled": pl.Int64(),
    "size": MONEY,
    "units": MONEY,
    "decision_price": pl.Float64(),
    "entry_price": pl.Float64(),  # of the first order, before slippage
    "average_price": pl.Float64(),
    "exit_price": pl.Float64(),
    "stop_loss_price": pl.Float64(),
    "take_profit_price": pl.Float64(),
    "paid": MONEY,  # with fees
    "received": MONEY,  # after fees
    "fees": MONEY,
    "slippage": MONEY,
    "pnl": MONEY,
    "net_return": pl.Float64(),  # as the label has it
}
POSTING_SCHEMA: dict[str, pl.DataType] = {
    **_KEY,
    "number": pl.Int64(),
    "moment": UTC_MS,
    "account": pl.String(),
    "currency": pl.String(),
    "amount": MONEY,
}
#: One row per moment, everything of the moment booked and marked, before its signals are decided.
EQUITY_SCHEMA: dict[str, pl.DataType] = {
    "moment": UTC_MS,
    "cash": MONEY,
    "reserved": MONEY,
    "positions": MONEY,  # value at the closes of the moment
    "equity": MONEY,  # cash + positions
    "open_trades": pl.Int64(),
    "open_risk": MONEY,
    "day_mark": MONEY,
    "week_mark": MONEY,
    "high_water": MONEY,
    "drawdown": pl.Float64(),
    "state": pl.String(),
    "daily_until": UTC_MS,  # null: no such block
    "weekly_until": UTC_MS,
    "halt_until": UTC_MS,
    "drawn": pl.Boolean(),
    "needs_reset": pl.Boolean(),
}
#: Trades that are open at the end of a span; what ``OpenTrade`` says of each, and its prices.
POSITION_SCHEMA: dict[str, pl.DataType] = {
    **_KEY,
    "revision": pl.Int64(),
    "tier": pl.String(),
    "entry_ts": UTC_MS,
    "size": MONEY,
    "order_sum": MONEY,
    "orders": pl.Int64(),
    "risk": MONEY,
    "reserved": MONEY,
    "booked": pl.Int64(),
    "number": pl.Int64(),
    "units": MONEY,
    "paid": MONEY,
    "received": MONEY,
    "fees": MONEY,
    "slippage": MONEY,
    "value": MONEY,
    "result": MONEY,
    "decision_price": pl.Float64(),
    "entry_price": pl.Float64(),  # null: its entry bar is still to come; so are the next three
    "average_price": pl.Float64(),
    "stop_loss_price": pl.Float64(),
    "take_profit_price": pl.Float64(),
    "mark": pl.Float64(),  # the last close
}
#: Trades whose row no longer holds.
REOPENED_SCHEMA: dict[str, pl.DataType] = {**_KEY, "revision": pl.Int64()}


def framed(rows: Sequence[Sequence[Any]], schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """A frame of rows whose values stand in the order of ``schema``; times are Unix milliseconds."""
    if not rows:
        return pl.DataFrame(schema=schema)
    columns = zip(*rows, strict=True)
    return pl.DataFrame(
        [
            pl.Series(name, list(values), dtype=pl.Int64()).cast(dtype)
            if dtype == UTC_MS
            else pl.Series(name, list(values), dtype=dtype)
            for (name, dtype), values in zip(schema.items(), columns, strict=True)
        ]
    )
