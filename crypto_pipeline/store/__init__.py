"""The database: all access to PostgreSQL, and all SQL except the migrations in ``sql/``.

``Store`` is one handle for everything in the database. Sub-rooms, low to high: ``database`` (connections, retry rule,
instrument ids, the market's clock), ``columns`` and ``schema``, ``coverage`` and ``partitions``, ``research``,
``views`` and ``embedded`` (the server), ``bars`` and ``trades``, ``archive``, and on top ``reads``, ``coordination``
and ``operations``. Every write is one transaction that may be repeated.

The meaning of values belongs to ``market``; ``healing`` decides what is fetched or explained. Nothing here depends on a
venue, on Dagster or on the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crypto_pipeline.lazy_attributes import lazy_attributes

if TYPE_CHECKING:
    from crypto_pipeline.store.bars.writer import WriteResult
    from crypto_pipeline.store.coordination.heartbeats import Heartbeat
    from crypto_pipeline.store.coordination.leases import Lease, LeaseLost
    from crypto_pipeline.store.database.connect import ensure_databases, redact
    from crypto_pipeline.store.database.errors import StoreError
    from crypto_pipeline.store.database.sessions.pooler import DatabaseUrl
    from crypto_pipeline.store.database_url import dagster_url, resolve_url
    from crypto_pipeline.store.embedded.server import EmbeddedServer
    from crypto_pipeline.store.instruments import InstrumentRow, ListingRow
    from crypto_pipeline.store.operations.job_metrics import JobMetrics
    from crypto_pipeline.store.schema.migrations import migrate
    from crypto_pipeline.store.store import Store
    from crypto_pipeline.store.trades.live_prices import LivePrice

__all__ = [
    "DatabaseUrl",
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

__getattr__ = lazy_attributes(
    __name__,
    {
        "embedded.server": ("EmbeddedServer",),
        "coordination.heartbeats": ("Heartbeat",),
        "instruments": (
            "InstrumentRow",
            "ListingRow",
        ),
        "operations.job_metrics": ("JobMetrics",),
        "coordination.leases": (
            "Lease",
            "LeaseLost",
        ),
        "trades.live_prices": ("LivePrice",),
        "store": ("Store",),
        "database.errors": ("StoreError",),
        "database.sessions.pooler": ("DatabaseUrl",),
        "bars.writer": ("WriteResult",),
        "database_url": (
            "dagster_url",
            "resolve_url",
        ),
        "database.connect": (
            "ensure_databases",
            "redact",
        ),
        "schema.migrations": ("migrate",),
    },
)
