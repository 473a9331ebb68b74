"""The place of the event log in a ``dagster.yaml`` of a person's own that was copied from an earlier version."""

from __future__ import annotations

from crypto_pipeline.ops.dagster_instance.storage import KeptConnectionEventLogStorage

__all__ = ["KeptConnectionEventLogStorage"]
