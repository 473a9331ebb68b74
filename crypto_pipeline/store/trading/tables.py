"""``store.trading``: the tables of trading, by subject."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections

if TYPE_CHECKING:
    from crypto_pipeline.store.trading.ledger import TradingLedger
    from crypto_pipeline.store.trading.orders_outbox import OrderOutbox
    from crypto_pipeline.store.trading.portfolio import PortfolioReads
    from crypto_pipeline.store.trading.scans import ScanTables
    from crypto_pipeline.store.trading.shadow import ShadowTables


@fork_safety.with_parts
class TradingTables:
    """One handle for the parts of schema ``trading``; each is made at its first use. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    @cached_property
    def scans(self) -> ScanTables:
        """Scans of closed bars, and how far they are."""
        from crypto_pipeline.store.trading.scans import ScanTables

        return ScanTables(self._connections, self._symbols)

    @cached_property
    def shadow(self) -> ShadowTables:
        """Ledgers of shadow variants, the tests of them, and what persons changed."""
        from crypto_pipeline.store.trading.shadow import ShadowTables

        return ShadowTables(self._connections, self._symbols)

    @cached_property
    def outbox(self) -> OrderOutbox:
        """What brokers are to carry out, and what came of it."""
        from crypto_pipeline.store.trading.orders_outbox import OrderOutbox

        return OrderOutbox(self._connections, self._symbols)

    @cached_property
    def ledger(self) -> TradingLedger:
        """Accounts: what was decided, what was booked, and what is open."""
        from crypto_pipeline.store.trading.ledger import TradingLedger

        return TradingLedger(self._connections, self._symbols)

    @cached_property
    def portfolio(self) -> PortfolioReads:
        """Counts and sums that tell whether the books of accounts agree."""
        from crypto_pipeline.store.trading.portfolio import PortfolioReads

        return PortfolioReads(self._connections, self._symbols)
