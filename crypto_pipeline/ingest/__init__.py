"""The live layer: a venue's stream becomes stored trades and bars, for ever, without a hole and without a double.

Here belong the connections and their supervision, the bounded memory between socket and database, trades to bars with
the proof that none is missing, the ids that show a loss and its repair, the lease that lets exactly one process do it,
and the program around all that. How a venue's messages read (venues), SQL (store), what is done to bars once they are
stored (healing: it is passed in as ``on_minute``) and who starts and watches this (defs, ops) do not belong here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crypto_pipeline.ingest.after_minute import MinuteDone, OnMinute
    from crypto_pipeline.ingest.aggregation.aggregator import Aggregator
    from crypto_pipeline.ingest.lease import Duty
    from crypto_pipeline.ingest.run import heartbeat_name, run_ingest

__all__ = ["Aggregator", "Duty", "MinuteDone", "OnMinute", "heartbeat_name", "run_ingest"]

_HOME = {
    "Aggregator": "aggregation.aggregator",
    "Duty": "lease",
    "MinuteDone": "after_minute",
    "OnMinute": "after_minute",
    "heartbeat_name": "run",
    "run_ingest": "run",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``python -m`` and light users of one part do not load all of it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
