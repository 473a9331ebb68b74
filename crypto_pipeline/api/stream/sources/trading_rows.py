"""Rows of frames about trading on paper. Times are Unix milliseconds (UTC).

Sums of money are texts with all their digits, as over HTTP; prices are numbers in the quote asset.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from crypto_pipeline.api.stream.sources.rows import Moment

Money = Annotated[str, Meta(pattern=r"^-?\d+(\.\d+)?$", description="Decimal in the account's currency.")]


class SignalRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A signal and what was decided about it. The key is ``strategy``, ``instrument`` and ``signal_ts``."""

    strategy: str
    instrument: str
    tier: str
    signal_ts: Annotated[int, Meta(description="Open of the signal bar, in Unix milliseconds.")]
    decided_at: Moment
    accepted: bool
    reason: Annotated[str | None, Meta(description="What rejected it; null: nothing.")]
    decision_price: Annotated[float, Meta(description="Close of the signal bar.")]
    planned_stop: float
    planned_target: float
    size: Annotated[str | None, Meta(description="What all of its orders spend; null: rejected.")]
    probability: Annotated[float | None, Meta(description="Of the model; null: there was no prediction.")]

    @property
    def key(self) -> tuple[str, str, int]:
        """Rows with the same key replace one another."""
        return self.strategy, self.instrument, self.signal_ts


class TradeRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A trade of the paper account, open or closed. The key is ``strategy``, ``instrument`` and ``signal_ts``."""

    strategy: str
    instrument: str
    tier: str
    signal_ts: Annotated[int, Meta(description="Open of the signal bar, in Unix milliseconds.")]
    state: Annotated[str, Meta(description="open, closed, or cancelled: it was never entered.")]
    entry_ts: Moment
    exit_ts: Annotated[int | None, Meta(description="Close of the bar in which it ended; null: it is open.")]
    outcome: Annotated[str | None, Meta(description="TP, SL or TIME; null: it is open.")]
    decision_price: Annotated[float, Meta(description="Close of the signal bar.")]
    average_price: Annotated[float | None, Meta(description="Of the entries; null: not entered yet.")]
    price: Annotated[float | None, Meta(description="Last close; of a closed trade its exit.")]
    stop_loss_price: float | None
    take_profit_price: float | None
    orders_filled: int
    units: Money
    spent: Annotated[str, Meta(description="What its entries cost, fees included.")]
    pnl: Annotated[str, Meta(description="Net; of an open trade at the last close.")]
    fees: Money
    net_return: Annotated[float | None, Meta(description="Null: it is open.")]

    @property
    def key(self) -> tuple[str, str, int]:
        """Rows with the same key replace one another."""
        return self.strategy, self.instrument, self.signal_ts
