"""PostgreSQL, the only place with SQL besides ``sql/``.

Here belongs everything that talks to the database: the embedded server and its life, connections, migrations, writing
and reading bars, the coverage and the ledger kept with them, instruments, checks and alerts, request budgets. Every
write is one transaction that may be repeated. What a value means, and what should be fetched or explained, is decided
elsewhere: ``market`` has the words and rules, ``healing`` the decisions. Nothing here knows a venue, Dagster or the
command line.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crypto_pipeline.store.bars.writer import WriteResult
    from crypto_pipeline.store.coordination.heartbeats import Heartbeat
    from crypto_pipeline.store.coordination.leases import Lease, LeaseLost
    from crypto_pipeline.store.database.connect import ensure_databases, redact
    from crypto_pipeline.store.database.errors import StoreError
    from crypto_pipeline.store.database.migrations import migrate
    from crypto_pipeline.store.embedded.server import EmbeddedServer
    from crypto_pipeline.store.instruments import InstrumentRow, ListingRow
    from crypto_pipeline.store.operations.metrics import JobMetrics
    from crypto_pipeline.store.resolve_url import dagster_url, resolve_url
    from crypto_pipeline.store.store import Store
    from crypto_pipeline.store.trades.live_prices import LivePrice

__all__ = [
    "EmbeddedServer",
    "Heartbeat",
    "InstrumentRow",
    "JobMetrics",
    "Lease",
    "LeaseLost",
    "ListingRow",
    "LivePrice",
    "Store",
    "StoreError",
    "WriteResult",
    "dagster_url",
    "ensure_databases",
    "migrate",
    "redact",
    "resolve_url",
]

_HOME = {
    "EmbeddedServer": "embedded.server",
    "Heartbeat": "coordination.heartbeats",
    "InstrumentRow": "instruments",
    "JobMetrics": "operations.metrics",
    "Lease": "coordination.leases",
    "LeaseLost": "coordination.leases",
    "ListingRow": "instruments",
    "LivePrice": "trades.live_prices",
    "Store": "store",
    "StoreError": "database.errors",
    "WriteResult": "bars.writer",
    "dagster_url": "resolve_url",
    "ensure_databases": "database.connect",
    "migrate": "database.migrations",
    "redact": "database.connect",
    "resolve_url": "resolve_url",
}


def __getattr__(name: str) -> Any:
    """Import on first use: what starts the server or prints a status must not wait for Arrow and Polars."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
