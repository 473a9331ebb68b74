"""``Store``: one handle for all parts of the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from crypto_pipeline.store.coordination.leases import FencedConnections, Lease, Leases
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.connect import database_name, redact
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import PATIENCE, Connections
from crypto_pipeline.store.database.portable_url import PortableUrl

if TYPE_CHECKING:
    from crypto_pipeline.store.archive.reader import Archive
    from crypto_pipeline.store.bars.audit import Audit
    from crypto_pipeline.store.bars.refused import BarsApart
    from crypto_pipeline.store.bars.writer import BarWriter
    from crypto_pipeline.store.coordination.budgets import Budgets
    from crypto_pipeline.store.coordination.heartbeats import Heartbeats
    from crypto_pipeline.store.coordination.leases import Leases
    from crypto_pipeline.store.corporate_actions import CorporateActions
    from crypto_pipeline.store.coverage.comparisons import Comparisons
    from crypto_pipeline.store.coverage.coverage import Coverage
    from crypto_pipeline.store.coverage.failovers import Failovers
    from crypto_pipeline.store.coverage.ledger import Ledger
    from crypto_pipeline.store.coverage.reconciliations import Reconciliations
    from crypto_pipeline.store.database.market_clock import Clock
    from crypto_pipeline.store.instruments import Instruments
    from crypto_pipeline.store.macro.reads import MacroReads
    from crypto_pipeline.store.macro.writer import Macro
    from crypto_pipeline.store.operations.check_results import Checks
    from crypto_pipeline.store.operations.disk_usage import Storage
    from crypto_pipeline.store.operations.metrics import Metrics
    from crypto_pipeline.store.operations.proof_rotation import TableProofs
    from crypto_pipeline.store.reads.bars import BarReader
    from crypto_pipeline.store.reads.trades import TradeReads
    from crypto_pipeline.store.research.features import Features
    from crypto_pipeline.store.research.forecasts import Forecasts
    from crypto_pipeline.store.research.labels import Labels
    from crypto_pipeline.store.research.models.registry import Models
    from crypto_pipeline.store.trades.live_prices import Live
    from crypto_pipeline.store.trades.price_updates import PriceUpdates
    from crypto_pipeline.store.trades.spans import StoredTrades
    from crypto_pipeline.store.trades.writer import Trades
    from crypto_pipeline.store.trading.tables import TradingTables
    from crypto_pipeline.store.views.views import Views


@fork_safety.with_parts
class Store:
    """The migrated database at ``url``. Thread-safe; connects at first use. Close it, or use ``with``.

    All parts share one set of connections, which survives restarts of the server.
    """

    def __init__(
        self,
        url: str,
        *,
        batch_rows: int = 50_000,
        connections: int = 8,
        patience: float = PATIENCE,
        statement_timeout: float | None = None,
    ) -> None:
        self.url = url
        self.connections = Connections(url, connections, patience=patience, statement_timeout=statement_timeout)
        self._symbols = Symbols(self.connections)
        self._batch_rows = batch_rows
        self._how = {"connections": connections, "patience": patience, "statement_timeout": statement_timeout}

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self.connections, FencedConnections):
            raise TypeError("a store under a lease belongs to the process that holds the lease")
        return _again, (PortableUrl(self.url), {"batch_rows": self._batch_rows, **self._how})

    @cached_property
    def clock(self) -> Clock:
        """The market's clock."""
        from crypto_pipeline.store.database.market_clock import Clock

        return Clock(self.connections)

    @cached_property
    def instruments(self) -> Instruments:
        """Collected instruments and their listings at venues."""
        from crypto_pipeline.store.instruments import Instruments

        return Instruments(self.connections)

    @cached_property
    def corporate_actions(self) -> CorporateActions:
        """Splits, dividends and renames of stocks."""
        from crypto_pipeline.store.corporate_actions import CorporateActions

        return CorporateActions(self.connections, self._symbols)

    @cached_property
    def bars(self) -> BarWriter:
        """Writes bars."""
        from crypto_pipeline.store.bars.writer import BarWriter

        return BarWriter(self.connections, self._symbols, self._batch_rows)

    @cached_property
    def bars_apart(self) -> BarsApart:
        """Refused bars."""
        from crypto_pipeline.store.bars.refused import BarsApart

        return BarsApart(self.connections, self._symbols)

    @cached_property
    def reader(self) -> BarReader:
        """Reads bars."""
        from crypto_pipeline.store.reads.bars import BarReader

        return BarReader(self.connections, self._symbols, self.archive)

    @cached_property
    def archive(self) -> Archive:
        """Reads the archive's files."""
        from crypto_pipeline.store.archive.reader import Archive

        return Archive(self.connections)

    @property
    def symbols(self) -> Symbols:
        """Names and ids of instruments."""
        return self._symbols

    @cached_property
    def trade_reads(self) -> TradeReads:
        """Reads trades of any day, from table and archive."""
        from crypto_pipeline.store.reads.trades import TradeReads

        return TradeReads(self.connections, self._symbols, self.archive)

    @cached_property
    def coverage(self) -> Coverage:
        """Numbers of expected, present and explained bars by day."""
        from crypto_pipeline.store.coverage.coverage import Coverage

        return Coverage(self.connections, self._symbols)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of absent bars and their reasons."""
        from crypto_pipeline.store.coverage.ledger import Ledger

        return Ledger(self.connections, self._symbols)

    @cached_property
    def labels(self) -> Labels:
        """Labels of the strategies' setups, with their history."""
        from crypto_pipeline.store.research.labels import Labels

        return Labels(self.connections, self._symbols)

    @cached_property
    def features(self) -> Features:
        """Features, and the data versions from which they were computed."""
        from crypto_pipeline.store.research.features import Features

        return Features(self.connections, self._symbols)

    @cached_property
    def models(self) -> Models:
        """Trained models, which of them are in use, and their predictions."""
        from crypto_pipeline.store.research.models.registry import Models

        return Models(self.connections, self._symbols)

    @cached_property
    def forecasts(self) -> Forecasts:
        """Forecasts, the fits they were made with, and their scores."""
        from crypto_pipeline.store.research.forecasts import Forecasts

        return Forecasts(self.connections)

    @cached_property
    def trading(self) -> TradingTables:
        """Scans, signals, orders, the ledger and shadow variants."""
        from crypto_pipeline.store.trading.tables import TradingTables

        return TradingTables(self.connections, self._symbols)

    @cached_property
    def reconciliations(self) -> Reconciliations:
        """Disagreements between our bars and the venue's."""
        from crypto_pipeline.store.coverage.reconciliations import Reconciliations

        return Reconciliations(self.connections, self._symbols)

    @cached_property
    def comparisons(self) -> Comparisons:
        """Comparisons with the venue's own bars, and days that are due."""
        from crypto_pipeline.store.coverage.comparisons import Comparisons

        return Comparisons(self.connections, self._symbols)

    @cached_property
    def audit(self) -> Audit:
        """Queries that check the tables."""
        from crypto_pipeline.store.bars.audit import Audit

        return Audit(self.connections)

    @cached_property
    def checks(self) -> Checks:
        """Results of checks and alerts."""
        from crypto_pipeline.store.operations.check_results import Checks

        return Checks(self.connections)

    @cached_property
    def table_proofs(self) -> TableProofs:
        """Proofs that tables have the rows that are counted elsewhere."""
        from crypto_pipeline.store.operations.proof_rotation import TableProofs

        return TableProofs(self.connections)

    @cached_property
    def budgets(self) -> Budgets:
        """Request budgets of venues, shared by all processes."""
        from crypto_pipeline.store.coordination.budgets import Budgets

        return Budgets(self.connections)

    @cached_property
    def trades(self) -> Trades:
        """Writes and reads trades in the table."""
        from crypto_pipeline.store.trades.writer import Trades

        return Trades(self.connections, self._symbols)

    def trades_around(self, venue: str, spans: Sequence[tuple[str, datetime, datetime]]) -> Iterator[StoredTrades]:
        """Stored trades of ``venue`` and the ids beside them, for each span (instrument, start, end) that has some."""
        from crypto_pipeline.store.trades.spans import stored_trades

        return stored_trades(self.connections, self._symbols, self.trades, venue, spans)

    @cached_property
    def failovers(self) -> Failovers:
        """Spans with bars of a substitute venue."""
        from crypto_pipeline.store.coverage.failovers import Failovers

        return Failovers(self.connections, self._symbols)

    @cached_property
    def live(self) -> Live:
        """Forming bars and last prices."""
        from crypto_pipeline.store.trades.live_prices import Live

        return Live(self.connections, self._symbols, self.trades)

    @cached_property
    def price_updates(self) -> PriceUpdates:
        """Minutes of price updates that are not in history yet."""
        from crypto_pipeline.store.trades.price_updates import PriceUpdates

        return PriceUpdates(self.connections, self._symbols)

    @cached_property
    def macro(self) -> Macro:
        """Macro series, their observations and releases."""
        from crypto_pipeline.store.macro.writer import Macro

        return Macro(self.connections)

    @cached_property
    def macro_reads(self) -> MacroReads:
        """Reading macro series."""
        from crypto_pipeline.store.macro.reads import MacroReads

        return MacroReads(self.connections)

    @cached_property
    def leases(self) -> Leases:
        """Leases of tasks that at most one process may do."""
        from crypto_pipeline.store.coordination.leases import Leases

        return Leases(self.connections)

    @cached_property
    def heartbeats(self) -> Heartbeats:
        """Heartbeats of processes."""
        from crypto_pipeline.store.coordination.heartbeats import Heartbeats

        return Heartbeats(self.connections)

    @cached_property
    def metrics(self) -> Metrics:
        """Metrics of jobs."""
        from crypto_pipeline.store.operations.metrics import Metrics

        return Metrics(self.connections)

    @cached_property
    def storage(self) -> Storage:
        """Disk use and its growth."""
        from crypto_pipeline.store.operations.disk_usage import Storage

        return Storage(self.connections)

    @cached_property
    def views(self) -> Views:
        """The materialized views for people and tools."""
        from crypto_pipeline.store.views.views import Views

        return Views(self.connections)

    def fenced(self, lease: Lease) -> Store:
        """A store for the same database whose writes check in their transactions that the lease is still held.

        A write raises LeaseLost if it is not. The new store shares this store's connections; closing it does nothing.
        """
        other = Store(self.url, batch_rows=self._batch_rows)
        other.connections = FencedConnections(self.connections, lease)
        # names and ids are read outside of any lease
        other._symbols = self._symbols
        return other

    def size_bytes(self) -> int:
        """Disk space of the whole database in bytes."""
        row = self.connections.run(
            lambda connection: connection.execute("SELECT pg_database_size(current_database())").fetchone()
        )
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        """Close all connections."""
        self.connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({redact(self.url)!r}, database={database_name(self.url)!r})"


def _again(url: PortableUrl, how: dict[str, Any]) -> Store:
    return Store(url.url, **how)
