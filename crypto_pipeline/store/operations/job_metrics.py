"""The metrics of one run of a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(slots=True)
class JobMetrics:
    """Metrics of one run of a job, as the job reports them."""

    job: str
    started: datetime
    seconds: float
    succeeded: bool = True
    status: str = "succeeded"
    run_id: str | None = None
    rows: int = 0
    bars_made: int = 0
    gaps_found: int = 0
    gaps_filled: int = 0
    oldest_gap: datetime | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
