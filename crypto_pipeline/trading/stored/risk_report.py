"""The limits of the paper account: what is used, what binds, and the reset of a halt by a person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from crypto_pipeline.market.times import from_unix_ms
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.trading.guards import TradingState, resumes_at, trading_state
from crypto_pipeline.trading.limit_use import LimitUse, limit_uses
from crypto_pipeline.trading.stored.account_state import stored_state
from crypto_pipeline.trading.stored.production import PAPER, production_parameters


@dataclass(frozen=True, slots=True)
class RiskReport:
    """What the account may do after its last moment.

    ``resumes_at``: when entries are allowed again by themselves; None: they are, or ``needs_reset``.
    """

    moment: datetime
    state: TradingState
    needs_reset: bool
    resumes_at: datetime | None
    equity: Decimal
    free_cash: Decimal
    high_water: Decimal
    limits: list[LimitUse]

    @property
    def binding(self) -> list[LimitUse]:
        """What binds now."""
        return [limit for limit in self.limits if limit.binds]


def risk_report(store: Store, settings: Settings) -> RiskReport:
    """The limits of the paper account. Raises StoreError where it has not begun, and SettingsError."""
    account = store.trading.ledger.account(PAPER)
    if account is None:
        raise StoreError("nothing was traded yet: the paper account begins with the first bar that is scanned")
    state = stored_state(store, account)
    resumes = resumes_at(state.guards, state.moment)
    return RiskReport(
        account.moment, trading_state(state.guards, state.moment), state.guards.needs_reset,
        None if resumes is None else from_unix_ms(resumes), state.equity, state.cash - state.reserved,
        state.guards.high_water, limit_uses(state, production_parameters(store, settings)),
    )  # fmt: skip


def reset_risk(store: Store, reason: str, decided_by: str) -> datetime:
    """Reset the halt of the paper account at its next moment, which is returned: the high-water mark becomes what the
    account is worth then. Raises StoreError where it has not begun, or ``reason`` is empty.
    """
    if not reason.strip():
        raise StoreError("a reset needs a reason: it is stored with it")
    return store.trading.ledger.reset(PAPER, reason.strip(), decided_by)
