"""Columns of the tables of the ledger, as frames have them. Times are UTC.

Sums of money and amounts are decimals of 18 places, prices floats as they stand in bars. ``number`` counts the events
of one trade from 0, reversals included. The tables have the account and the instrument's id in front.
"""

from __future__ import annotations

import polars as pl

UTC_MS = pl.Datetime("ms", "UTC")
#: Places of stored sums and amounts.
PLACES = 18
MONEY = pl.Decimal(38, PLACES)
KEY: dict[str, pl.DataType] = {"strategy": pl.String(), "instrument": pl.String(), "signal_ts": UTC_MS}

#: One row per signal: taken or not, with all that it was decided from beside the signal itself.
DECISION_SCHEMA: dict[str, pl.DataType] = {
    **KEY,
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
    **KEY,
    "order_number": pl.Int64(),
    "event": pl.String(),
    "moment": UTC_MS,
    "use": pl.String(),
    "price": pl.Float64(),  # the limit or stop; null: at the market
    "quote": MONEY,  # what a purchase spends; null: sells all
}
FILL_SCHEMA: dict[str, pl.DataType] = {
    **KEY,
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
    **KEY,
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
    **KEY,
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
    **KEY,
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
REOPENED_SCHEMA: dict[str, pl.DataType] = {**KEY, "revision": pl.Int64()}
#: Changes of what an account may do.
RISK_CHANGE_SCHEMA: dict[str, pl.DataType] = {
    "moment": UTC_MS,
    "state": pl.String(),
    "because": pl.String(),  # the guard; resumed: none
    "resumes_at": UTC_MS,  # by itself; null: now, or after a person's reset
    "equity": MONEY,
    "drawdown": pl.Float64(),
}
#: What a decision was made from, beside what ``DECISION_SCHEMA`` has; see ``trading.signals``.
SIGNAL_INPUTS: dict[str, pl.DataType] = {
    "day_volume": pl.Float64(),
    "stress": pl.Int64(),
    "regime": pl.Int64(),
    "volatility": pl.Float64(),
    "strength": pl.Float64(),
    "params_hash": pl.String(),
    "ml_mode": pl.String(),
    "probability": pl.Float64(),
    "p_star": pl.Float64(),
    "model_id": pl.String(),
    "measures": pl.String(),  # JSON: the setup's own measures
}
#: Column of the table of postings that is ``account`` in frames: there the account that trades has that name.
POSTED_TO = "ledger_account"
#: Frames of each table of the ledger, by its name in schema ``trading``.
LEDGER_TABLES: dict[str, dict[str, pl.DataType]] = {
    "signals": {**DECISION_SCHEMA, **SIGNAL_INPUTS},
    "orders": ORDER_SCHEMA,
    "fills": FILL_SCHEMA,
    "postings": POSTING_SCHEMA,
    "positions": POSITION_SCHEMA,
    "trade_logs": TRADE_SCHEMA,
    "equity": EQUITY_SCHEMA,
}
