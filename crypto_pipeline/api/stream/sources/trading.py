"""Decided signals, and trades of the paper account."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from crypto_pipeline.api.stream.channel import Channel, Update
from crypto_pipeline.api.stream.sources.source import ChannelSource
from crypto_pipeline.api.stream.sources.trading_rows import SignalRow, TradeRow
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.store import Store
from crypto_pipeline.trading.portfolio.shown import money_text
from crypto_pipeline.trading.stored.production import PAPER

#: Signals and closed trades that a channel has: the newest, of so many days at most.
_NEWEST, _DAYS = 200, timedelta(days=30)


class TradingChannels(ChannelSource):
    """Reads the paper account: its newest signals and trades."""

    kinds = ("signals", "trades")
    notices = ("signals_changed", "trades_changed")
    pause = 0.5

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def read(self, channels: Sequence[Channel], payloads: set[str | None]) -> Iterable[Update]:
        """As in ChannelSource."""
        account = self._store.trading.ledger.account(PAPER)
        for channel in channels:
            if account is None:
                yield Update(channel.name.text, whole=True)
            elif channel.name.kind == "signals":
                rows = [_signal(row) for row in self._newest("signals", account.moment)]
                yield Update(channel.name.text, rows, whole=True)
            else:
                yield self._trades(channel, account.moment)

    def _newest(self, table: str, moment: datetime) -> list[dict[str, Any]]:
        frame = self._store.trading.portfolio.rows(table, PAPER, moment - _DAYS, moment)
        return frame.tail(_NEWEST).to_dicts()

    def _trades(self, channel: Channel, moment: datetime) -> Update:
        closed = [_closed(row) for row in self._newest("trade_logs", moment)]
        opened = [_opened(row) for row in self._store.trading.ledger.read("positions", PAPER).to_dicts()]
        rows = {row.key: row for row in (*closed, *opened)}
        for row in channel.rows.values():
            # an order to enter that was cancelled leaves neither a position nor a trade
            if isinstance(row, TradeRow) and row.state == "open" and row.key not in rows:
                rows[row.key] = msgspec.structs.replace(row, state="cancelled")
        return Update(channel.name.text, list(rows.values()), whole=True)


def _signal(row: Mapping[str, Any]) -> SignalRow:
    return SignalRow(
        row["strategy"], row["instrument"], row["tier"], unix_ms(row["signal_ts"]), unix_ms(row["moment"]),
        row["taken"], row["limit_name"], row["decision_price"], row["planned_stop"], row["planned_target"],
        None if row["size"] is None else money_text(row["size"]), row["probability"],
    )  # fmt: skip


def _closed(row: Mapping[str, Any]) -> TradeRow:
    end = unix_ms(row["exit_ts"]), row["outcome"]
    return _trade(row, "closed", end, row["exit_price"], row["pnl"], row["net_return"])


def _opened(row: Mapping[str, Any]) -> TradeRow:
    return _trade(row, "open", (None, None), row["mark"], row["result"], None)


def _trade(
    row: Mapping[str, Any], state: str, end: tuple[int | None, str | None], price: float | None, pnl: Decimal,
    net_return: float | None,
) -> TradeRow:  # fmt: skip
    filled = row["booked"] if state == "open" else row["orders_filled"]
    return TradeRow(
        row["strategy"], row["instrument"], row["tier"], unix_ms(row["signal_ts"]), state, unix_ms(row["entry_ts"]),
        *end, row["decision_price"], row["average_price"], price, row["stop_loss_price"], row["take_profit_price"],
        filled, money_text(row["units"]), money_text(row["paid"]), money_text(pnl), money_text(row["fees"]), net_return,
    )  # fmt: skip
