"""Why a model refuses to predict. A refusal has a name; nothing is guessed in its place."""

from __future__ import annotations

from enum import StrEnum


class RefusalReason(StrEnum):
    """The reasons, as they are stored."""

    MISSING_INPUT = "missing_input"
    NULL_INPUT = "null_input"
    NOT_A_NUMBER = "not_a_number"
    UNKNOWN_TIER = "unknown_tier"
    INELIGIBLE = "ineligible"
    OTHER_FEATURES = "other_features"
    TOO_OLD = "too_old"
    PROBES_DIFFER = "probes_differ"
    DAMAGED = "damaged"
    NO_MODEL = "no_model"


class PredictionRefused(ValueError):  # noqa: N818  (reads as the fact it states)
    """The model does not predict this row, or any. ``names``: the inputs at fault; empty where it is not an input."""

    def __init__(self, reason: RefusalReason, message: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reason, self.names = reason, names
