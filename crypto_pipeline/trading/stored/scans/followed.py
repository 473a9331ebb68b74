"""What followed from a setup: what risk decided about it, and what the paper broker booked, each in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crypto_pipeline.labels.strategies.base import TIMEFRAME
from crypto_pipeline.store import Store
from crypto_pipeline.trading.stored.production import PAPER

_NO_SETUP = "not asked: there is no setup"


@dataclass(frozen=True, slots=True)
class FollowUp:
    """``risk`` and ``broker`` say it; ``decision`` and ``trade`` are the rows behind it, None where there are none."""

    risk: str = _NO_SETUP
    broker: str = _NO_SETUP
    decision: Mapping[str, Any] | None = None
    trade: Mapping[str, Any] | None = None


#: Of a bar without a setup.
NOTHING_FOLLOWS = FollowUp()


def follow_up(store: Store, strategy: str, instrument: str, signal_ts: datetime) -> FollowUp:
    """What followed from the setup of a bar (its open, UTC), in the paper account."""
    key = [(strategy, instrument, signal_ts)]
    ledger = store.trading.ledger
    decisions = ledger.rows_of("signals", PAPER, key)
    if decisions.is_empty():
        return FollowUp(_undecided(store, signal_ts), "nothing is ordered before risk has decided")
    decision = decisions.row(0, named=True)
    if not decision["taken"]:
        words = (
            f"rejected by {decision['limit_name']}: {decision['limit_value']:.6g} was found, "
            f"{decision['limit_threshold']:.6g} is allowed"
        )
        return FollowUp(words, "nothing was ordered", decision)
    words = (
        f"taken: {decision['size']:.2f} in {decision['orders']} orders, bound by {decision['bound_by']}; "
        f"stop {decision['planned_stop']:.6g}, target {decision['planned_target']:.6g}, risk {decision['risk']:.2f}"
    )
    trades = ledger.rows_of("trade_logs", PAPER, key)
    if trades.height:
        trade = trades.row(-1, named=True)
        said = (
            f"closed {trade['exit_ts']:%Y-%m-%d %H:%M} UTC by {trade['outcome']} at {trade['exit_price']:.6g}: "
            f"{trade['pnl']:+.2f} after {trade['fees']:.2f} of fees ({trade['net_return']:+.2%})"
        )
        return FollowUp(words, said, decision, trade)
    fills = ledger.rows_of("fills", PAPER, key)
    if fills.is_empty():
        return FollowUp(words, "not filled: the bar of its entry is absent or still to come", decision)
    prices = ", ".join(f"{price:.6g}" for price in fills["raw_price"])
    return FollowUp(words, f"open: {fills.height} orders filled, at {prices}", decision)


def _undecided(store: Store, signal_ts: datetime) -> str:
    account = store.trading.ledger.account(PAPER)
    if account is None:
        return "nothing is decided yet: the paper account has not begun"
    moment = signal_ts + TIMEFRAME.delta
    if moment <= account.began:
        return f"not decided: the paper account began at {account.began:%Y-%m-%d %H:%M} UTC"
    if moment > account.moment:
        return f"not decided yet: the paper account is at {account.moment:%Y-%m-%d %H:%M} UTC"
    return "not decided: the setup was found after its moment had passed"
