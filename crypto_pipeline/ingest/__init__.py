"""The live layer: a venue's stream becomes stored trades and bars, without a hole and without a duplicate.

``run`` ingests one shard: it takes the lease, works for one ``term``, and hands over. ``term_state`` is what the parts
of a term share; ``session`` keeps the connections, ``aggregation`` makes bars of trades and proves that no trade is
missing, ``repair`` finds holes and requests them by REST, ``stated_bars`` is the term of a venue whose trades cannot
show what is missing, ``after_minute`` calls what others do with each minute. Venue messages belong to ``venues``, SQL
to ``store``, roll-up and filling of stored bars to ``healing`` (passed in as ``on_minute``), starting and watching the
programs to ``defs`` and ``ops``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crypto_pipeline.lazy_attributes import lazy_attributes

if TYPE_CHECKING:
    from crypto_pipeline.ingest.after_minute import MinuteDone, OnMinute
    from crypto_pipeline.ingest.aggregation.aggregator import Aggregator
    from crypto_pipeline.ingest.lease import Duty
    from crypto_pipeline.ingest.run import run_ingest
    from crypto_pipeline.ingest.shards import (
        IngestShard,
        heartbeat_name,
        ingest_shard,
        ingest_shards,
        shards_with_instruments,
    )

__all__ = [
    "Aggregator",
    "Duty",
    "IngestShard",
    "MinuteDone",
    "OnMinute",
    "heartbeat_name",
    "ingest_shard",
    "ingest_shards",
    "run_ingest",
    "shards_with_instruments",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "aggregation.aggregator": ("Aggregator",),
        "lease": ("Duty",),
        "after_minute": (
            "MinuteDone",
            "OnMinute",
        ),
        "run": ("run_ingest",),
        "shards": ("IngestShard", "heartbeat_name", "ingest_shard", "ingest_shards", "shards_with_instruments"),
    },
)
