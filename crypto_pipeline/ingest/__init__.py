"""The live layer: a venue's stream becomes stored trades and bars, for ever, without a hole and without a double.

Here belong the connections and their supervision, the bounded memory between socket and database, trades to bars with
the proof that none is missing, the ids that show a loss and its repair, the lease that lets exactly one process do it,
and the program around all that. How a venue's messages read (venues), SQL (store), what is done to bars once they are
stored (healing: it is passed in as ``on_minute``) and who starts and watches this (defs, ops) do not belong here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crypto_pipeline.lazy_attributes import lazy_attributes

if TYPE_CHECKING:
    from crypto_pipeline.ingest.after_minute import MinuteDone, OnMinute
    from crypto_pipeline.ingest.aggregation.aggregator import Aggregator
    from crypto_pipeline.ingest.lease import Duty
    from crypto_pipeline.ingest.run import heartbeat_name, run_ingest

__all__ = ["Aggregator", "Duty", "MinuteDone", "OnMinute", "heartbeat_name", "run_ingest"]

__getattr__ = lazy_attributes(
    __name__,
    {
        "aggregation.aggregator": ("Aggregator",),
        "lease": ("Duty",),
        "after_minute": (
            "MinuteDone",
            "OnMinute",
        ),
        "run": (
            "heartbeat_name",
            "run_ingest",
        ),
    },
)
