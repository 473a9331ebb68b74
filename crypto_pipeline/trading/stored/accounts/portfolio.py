"""The account as people and programs are shown it: from the ledger, with figures that agree with it to the last digit.

What was read is kept until the account has moved on: then only what is new is read, unless something was booked again.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.database.errors import UnknownInstrumentError
from crypto_pipeline.store.trading.ledger import AccountRow
from crypto_pipeline.store.trading.ledger_columns import LEDGER_TABLES
from crypto_pipeline.trading.money import unrounded
from crypto_pipeline.trading.portfolio.book import TradingBook
from crypto_pipeline.trading.portfolio.journal import journal
from crypto_pipeline.trading.portfolio.shown import (
    shown_curve,
    shown_groups,
    shown_position,
    shown_signal,
    shown_trade,
)
from crypto_pipeline.trading.stored.production import PAPER, settings_parameters
from crypto_pipeline.trading.stored.scans import traded_parameters

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZERO = Decimal(0)
#: Tables that are kept, and the time by which rows are new.
_KEPT = ("signals", "trade_logs", "equity")


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """What the ledger says of an account at its last moment.

    Attributes:
        row: The account.
        corrections: How many trades were booked again until then.
        book: Its decisions, closed trades and equity with figures.
        positions: Open trades.
    """

    row: AccountRow
    corrections: int
    book: TradingBook
    positions: pl.DataFrame

    @property
    def last(self) -> dict[str, Any] | None:
        """The account after its last moment; None before its first one."""
        equity = self.book.equity
        return None if equity.is_empty() else equity.row(-1, named=True)


class PortfolioReader:
    """Reads one account of a store. Thread-safe."""

    def __init__(self, store: Store, settings: Settings, account: str = PAPER) -> None:
        self._store, self._settings, self._account = store, settings, account
        self._lock = threading.Lock()
        self._kept: StoredAccount | None = None

    def account(self) -> StoredAccount | None:
        """The account as it is booked now; None where nothing was traded yet. Raises StoreError."""
        with self._lock:
            self._kept = self._read(self._kept)
            return self._kept

    def _read(self, kept: StoredAccount | None) -> StoredAccount | None:
        """``kept`` while the account is where it was; else with what is new, or all of it after a correction."""
        ledger = self._store.trading.ledger
        row = ledger.account(self._account)
        if row is None:
            return None
        corrections = self._store.trading.portfolio.corrections(self._account)
        if kept is not None and (kept.row.moment, kept.corrections) == (row.moment, corrections):
            return kept
        known = kept if kept is not None and kept.corrections == corrections else None
        frames = {}
        for table in _KEPT:
            since = None if known is None else known.row.moment
            new = self._store.trading.portfolio.rows(table, self._account, since, row.moment)
            frames[table] = new if known is None else pl.concat([_frame(known.book, table), new])
        positions = ledger.read("positions", self._account)
        if ledger.account(self._account) != row:  # it moved on in between
            return self._read(kept)
        book = TradingBook(
            self._account, row.currency, row.began, row.moment, frames["signals"], frames["trade_logs"],
            frames["equity"], {"trading parameters": row.parameters_hash},
        )  # fmt: skip
        return StoredAccount(row, corrections, book, positions)

    def portfolio(self, points: int = 0) -> dict[str, Any]:
        """The account and what its trades have come to; ``points``: most points of the equity curve."""
        found = self.account()
        if found is None or found.last is None:
            return self._empty(found)
        with unrounded():
            return self._portfolio(found, found.last, points)

    def _portfolio(self, found: StoredAccount, last: dict[str, Any], points: int) -> dict[str, Any]:
        book, figures = found.book, found.book.equity_figures
        results = found.positions["result"].sum() or _ZERO
        return {
            "account": self._account, "currency": book.currency, "state": last["state"], "as_of": last["moment"],
            "start": found.row.began, "capital": found.row.capital, "cash": last["cash"],
            "reserved": found.positions["reserved"].sum() or _ZERO, "exposure": last["positions"],
            "equity": last["equity"], "open_positions": found.positions.height, "unrealised_pnl": results,
            "realised_pnl": book.figures.pnl, "pnl_day": last["equity"] - last["day_mark"],
            "pnl_week": last["equity"] - last["week_mark"], "figures": figures and figures.as_dict(),
            "trades": book.figures.as_dict(), "by_strategy": shown_groups(book.by_strategy),
            "by_tier": shown_groups(book.by_tier), "curve": shown_curve(book.equity, points),
        }  # fmt: skip

    def _empty(self, found: StoredAccount | None) -> dict[str, Any]:
        """An account that has booked nothing."""
        given = settings_parameters(self._settings)
        capital, currency = (
            (given.capital, given.currency) if found is None else (found.row.capital, found.row.currency)
        )
        signals, trades, equity = (pl.DataFrame(schema=LEDGER_TABLES[name]) for name in _KEPT)
        nothing = TradingBook(self._account, currency, _EPOCH, _EPOCH, signals, trades, equity)
        return {
            "account": self._account, "currency": currency, "state": "ACTIVE", "as_of": None,
            "start": None if found is None else found.row.began, "capital": capital, "cash": capital, "reserved": _ZERO,
            "exposure": _ZERO, "equity": capital, "open_positions": 0, "unrealised_pnl": _ZERO, "realised_pnl": _ZERO,
            "pnl_day": _ZERO, "pnl_week": _ZERO, "figures": None, "trades": nothing.figures.as_dict(),
            "by_strategy": {}, "by_tier": {}, "curve": [],
        }  # fmt: skip

    def positions(self, strategy: str | None = None, instrument: str | None = None) -> dict[str, Any]:
        """Open positions, the oldest first."""
        found = self.account()
        if found is None:
            return {"as_of": None, "positions": []}
        rows = _chosen(found.positions, strategy, self._known(instrument)).sort("entry_ts", maintain_order=True)
        given = settings_parameters(self._settings)
        horizons = {
            str(name): given.strategy_parameters(name, one).horizon
            for name, one in traded_parameters(self._settings).items()
        }
        return {
            "as_of": found.row.moment,
            "positions": [shown_position(row, horizons[row["strategy"]]) for row in rows.iter_rows(named=True)],
        }

    def trades(self, limit: int = 100, offset: int = 0, **which: Any) -> list[dict[str, Any]]:
        """Closed trades, those that ended last first. ``which``: strategy, instrument, start and end of their ends."""
        found = self.account()
        rows = None if found is None else self._page(found.book.trades, "exit_ts", limit, offset, **which)
        return [] if rows is None else [shown_trade(row) for row in rows.iter_rows(named=True)]

    def signals(
        self, limit: int = 100, offset: int = 0, taken: bool | None = None, **which: Any
    ) -> list[dict[str, Any]]:
        """Decided signals, the newest first. ``which``: strategy, instrument, start and end of their bars."""
        found = self.account()
        if found is None:
            return []
        rows = found.book.decisions
        chosen = rows if taken is None else rows.filter(pl.col("taken") == taken)
        page = self._page(chosen, "signal_ts", limit, offset, **which)
        return [shown_signal(row) for row in page.iter_rows(named=True)]

    def _page(
        self, rows: pl.DataFrame, time: str, limit: int, offset: int, *, strategy: str | None = None,
        instrument: str | None = None, start: datetime | None = None, end: datetime | None = None,
    ) -> pl.DataFrame:  # fmt: skip
        """Rows of a page, the newest first."""
        found = _chosen(rows, strategy, self._known(instrument))
        if start is not None:
            found = found.filter(pl.col(time) >= start)
        if end is not None:
            found = found.filter(pl.col(time) < end)
        return found.sort(time, maintain_order=True).reverse().slice(offset, limit)

    def _known(self, instrument: str | None) -> str | None:
        """The name of an instrument. Raises UnknownInstrumentError for one that is not known."""
        if instrument is not None and instrument not in self._store.instruments.ids():
            raise UnknownInstrumentError(f"unknown instrument {instrument!r}: see `crypto-pipeline instruments list`")
        return instrument


def stored_journal(store: Store, account: str = PAPER) -> str:
    """The ledger of an account as a journal of beancount. Raises StoreError where nothing was traded yet."""
    if store.trading.ledger.account(account) is None:
        raise StoreError(f"there is no account {account!r}: nothing was traded yet")
    return journal(store.trading.ledger.read("postings", account), f"account {account}")


def _frame(book: TradingBook, table: str) -> pl.DataFrame:
    return {"signals": book.decisions, "trade_logs": book.trades, "equity": book.equity}[table]


def _chosen(rows: pl.DataFrame, strategy: str | None, instrument: str | None) -> pl.DataFrame:
    """Rows of a strategy and of an instrument."""
    for name, value in (("strategy", strategy), ("instrument", instrument)):
        if value is not None:
            rows = rows.filter(pl.col(name) == value)
    return rows
