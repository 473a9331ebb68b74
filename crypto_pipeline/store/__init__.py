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
    from crypto_pipeline.store.connecting import ensure_databases, redact
    from crypto_pipeline.store.embedded import EmbeddedServer
    from crypto_pipeline.store.errors import StoreError
    from crypto_pipeline.store.heartbeats import Heartbeat
    from crypto_pipeline.store.instruments import InstrumentRow, ListingRow
    from crypto_pipeline.store.leases import Lease, LeaseLost
    from crypto_pipeline.store.live import LivePrice
    from crypto_pipeline.store.metrics import JobMetrics
    from crypto_pipeline.store.migrations import migrate
    from crypto_pipeline.store.store import Store
    from crypto_pipeline.store.urls import dagster_url, resolve_url
    from crypto_pipeline.store.writer import WriteResult

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
    "EmbeddedServer": "embedded",
    "Heartbeat": "heartbeats",
    "InstrumentRow": "instruments",
    "JobMetrics": "metrics",
    "Lease": "leases",
    "LeaseLost": "leases",
    "ListingRow": "instruments",
    "LivePrice": "live",
    "Store": "store",
    "StoreError": "errors",
    "WriteResult": "writer",
    "dagster_url": "urls",
    "ensure_databases": "connecting",
    "migrate": "migrations",
    "redact": "connecting",
    "resolve_url": "urls",
}


def __getattr__(name: str) -> Any:
    """Import on first use: what starts the server or prints a status must not wait for Arrow and Polars."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
