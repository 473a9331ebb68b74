"""The state of an account as the ledger has it, and trades as they are booked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from crypto_pipeline.labels.costs import OrderUse
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.store import Store
from crypto_pipeline.store.trading.ledger import AccountRow
from crypto_pipeline.store.trading.ledger_reads import TradeId
from crypto_pipeline.trading.account import AccountState, GuardState, OpenTrade, TradeEnd, TradeKey
from crypto_pipeline.trading.guards import ENDS_KEPT
from crypto_pipeline.trading.ledger.booking import BookedFill
from crypto_pipeline.trading.ledger.corrections import StandingFill
from crypto_pipeline.trading.money import ZERO, exact

_TRADE_COLUMNS = (
    "tier", "size", "order_sum", "orders", "risk", "reserved", "booked", "number", "units", "paid", "received", "fees",
    "slippage", "value", "result", "revision",
)  # fmt: skip


def stored_state(store: Store, account: AccountRow) -> AccountState:
    """The account after its last moment. Raises StoreError."""
    ledger, moment = store.trading.ledger, unix_ms(account.moment)
    equity = ledger.last_equity(account.account, account.moment)
    if equity.is_empty():
        return AccountState(moment, account.capital, account.capital, _no_guards(account))
    row = equity.row(0, named=True)
    until: dict[str, Any] = {name: 0 if row[name] is None else unix_ms(row[name]) for name in _UNTIL}
    marks: dict[str, Any] = {name: row[name] for name in ("day_mark", "week_mark", "high_water")}
    guards = GuardState(**marks, **until, drawn=row["drawn"], needs_reset=row["needs_reset"])
    state = AccountState(moment, row["cash"], row["equity"], guards)
    for position in ledger.read("positions", account.account).iter_rows(named=True):
        key = TradeKey(position["strategy"], position["instrument"], unix_ms(position["signal_ts"]))
        state.open[key] = OpenTrade(key, **{name: position[name] for name in _TRADE_COLUMNS})
    for instrument, exit_ts, strategy, signal_ts, stopped, tier in ledger.ends(account.account, ENDS_KEPT):
        order = TradeKey(strategy, instrument, unix_ms(signal_ts)).order
        state.ends[instrument] = (*state.ends.get(instrument, ()), TradeEnd(unix_ms(exit_ts), order, stopped, tier))
    return state


_UNTIL = ("daily_until", "weekly_until", "halt_until")


def _no_guards(account: AccountRow) -> GuardState:
    return GuardState(account.capital, account.capital, account.capital)


@dataclass(frozen=True, slots=True)
class BookedTrade:
    """A trade as it is booked; ``ended``: it has ended, or its entry was missed."""

    trade: OpenTrade
    standing: tuple[StandingFill, ...]
    ended: bool


def booked_trades(
    store: Store, account: str, trades: Sequence[TradeId], state: AccountState, signals: pl.DataFrame
) -> list[BookedTrade]:
    """What is booked of each of ``trades``. ``signals``: their rows of the table of signals."""
    fills = _standing(store.trading.ledger.rows_of("fills", account, trades))
    numbers, revisions = fills[1], _revisions(store, account, trades)
    found = []
    for row in signals.iter_rows(named=True):
        key = TradeKey(row["strategy"], row["instrument"], unix_ms(row["signal_ts"]))
        standing = tuple(fills[0].get(key, ()))
        trade = state.open.get(key)
        if trade is None:
            trade = _ended_trade(key, row, standing, numbers.get(key, 0), revisions.get(key, 0))
        found.append(BookedTrade(trade, standing, ended=key not in state.open))
    return found


def _standing(fills: pl.DataFrame) -> tuple[dict[TradeKey, list[StandingFill]], dict[TradeKey, int]]:
    """Fills that were not taken back, and the number of events, by trade."""
    standing: dict[TradeKey, list[StandingFill]] = {}
    numbers: dict[TradeKey, int] = {}
    for row in fills.sort("strategy", "instrument", "signal_ts", "number").iter_rows(named=True):
        key = TradeKey(row["strategy"], row["instrument"], unix_ms(row["signal_ts"]))
        numbers[key] = row["number"] + 1
        own = standing.setdefault(key, [])
        if row["reverses"] is None:
            own.append(StandingFill(row["number"], _fill(row)))
        else:
            standing[key] = [one for one in own if one.number != row["reverses"]]
    return standing, numbers


def _fill(row: dict[str, Any]) -> BookedFill:
    return BookedFill(
        OrderUse[row["use"]], unix_ms(row["bar_ts"]), exact(row["raw_price"]), row["price"], row["units"], row["quote"],
        row["fee"], row["slippage"], -row["quote"] - row["fee"],
    )  # fmt: skip


def _ended_trade(
    key: TradeKey, row: dict[str, Any], standing: Sequence[StandingFill], number: int, revision: int
) -> OpenTrade:
    buys = [fill for _, fill in standing if fill.use.buys]
    sells = [fill for _, fill in standing if not fill.use.buys]
    return OpenTrade(
        key, row["tier"], row["size"], row["order_sum"], row["orders"], row["risk"], ZERO, len(standing), number,
        units=sum((fill.units for _, fill in standing), ZERO),
        paid=-sum((fill.cash for fill in buys), ZERO),
        received=sum((fill.cash for fill in sells), ZERO),
        fees=sum((fill.fee for _, fill in standing), ZERO),
        slippage=sum((fill.slippage for _, fill in standing), ZERO),
        revision=revision,
    )  # fmt: skip


def _revisions(store: Store, account: str, trades: Sequence[TradeId]) -> dict[TradeKey, int]:
    rows = store.trading.ledger.rows_of("trade_logs", account, trades)
    return {
        TradeKey(strategy, name, unix_ms(ts)): revision
        for strategy, name, ts, revision in rows.select("strategy", "instrument", "signal_ts", "revision").iter_rows()
    }
