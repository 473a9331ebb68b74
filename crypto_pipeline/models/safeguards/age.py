"""Age of a model, counted from the end of the data that it learned from."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

#: Older than this a person is told; older than that it answers no more. A fresh model is 31 days old: the hold-out of
#: 28 days and the horizon of 3 days lie between.
WARN_AFTER, REFUSE_AFTER = timedelta(days=45), timedelta(days=60)


class ModelAge(StrEnum):
    """What the age of a model means for its use."""

    FRESH = "fresh"
    OLD = "old"
    TOO_OLD = "too_old"


def age_of(
    trained_until: datetime, now: datetime, warn: timedelta = WARN_AFTER, refuse: timedelta = REFUSE_AFTER
) -> ModelAge:
    """The age at ``now`` of a model whose last label ended at ``trained_until`` (both UTC)."""
    age = now - trained_until
    if age > refuse:
        return ModelAge.TOO_OLD
    return ModelAge.OLD if age > warn else ModelAge.FRESH
