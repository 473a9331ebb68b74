"""Promotion: once in 28 days, on a hold-out that neither model has seen and no earlier test has used.

Every test is stored with all its figures, whichever way it went. Where nothing can be decided yet, nothing is stored,
and the hold-out stays unused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.store.research.models.rows import ModelDecision

#: Between two tests of a strategy; schedules may be some hours early.
EVERY, TOLERANCE = timedelta(days=28), timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class PromotionOutcome:
    """What became of a look. ``not_due``: nothing was decided, ``because`` says why; ``next_at``: when to look again,
    None: not known. Otherwise ``decision`` is what was stored.
    """

    strategy: Strategy
    status: Literal["promoted", "kept", "not_due"]
    because: str
    decision: ModelDecision | None = None
    next_at: datetime | None = None
