"""Rows of the tables of models, as they are written and read. Times are UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

Alias: TypeAlias = Literal["champion", "challenger", "previous"]
ModelStatus: TypeAlias = Literal["candidate", "blocked"]
RunStatus: TypeAlias = Literal["trained", "insufficient_data", "failed"]
DecisionKind: TypeAlias = Literal["test", "forced", "rollback"]


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A row of ``research.models`` without its document.

    ``blocked_because``: why it may not be promoted by a test. ``holdout_from`` and ``holdout_until``: the signals on
    which it may be judged. ``sha256``: of the document, whose first 16 digits are ``model_id``.
    """

    model_id: str
    strategy: str
    status: ModelStatus
    blocked_because: tuple[str, ...]
    created_at: datetime
    trained_from: datetime
    trained_until: datetime
    holdout_from: datetime
    holdout_until: datetime
    feature_schema_hash: str
    params_hash: str
    loose_hash: str
    input_names: tuple[str, ...]
    metrics: Mapping[str, Any]
    manifest: Mapping[str, Any]
    sha256: str


@dataclass(frozen=True, slots=True)
class NewModel:
    """A model to store. ``document``: canonical JSON text, of which ``sha256`` is the hash."""

    strategy: str
    blocked_because: tuple[str, ...]
    trained_from: datetime
    trained_until: datetime
    holdout_from: datetime
    holdout_until: datetime
    feature_schema_hash: str
    params_hash: str
    loose_hash: str
    input_names: tuple[str, ...]
    metrics: Mapping[str, Any]
    manifest: Mapping[str, Any]
    sha256: str
    document: str = field(repr=False)

    @property
    def model_id(self) -> str:
        """The first 16 digits of its hash."""
        return self.sha256[:16]


@dataclass(frozen=True, slots=True)
class ModelRun:
    """The outcome of one training. ``missing``: what there is too little of; ``sufficient_at``: when it will suffice,
    by the market's clock; None: not known. ``market_time``: now by that clock. ``error``: of a failed one.
    """

    strategy: str
    status: RunStatus
    started_at: datetime
    seconds: float
    market_time: datetime
    model_id: str | None = None
    missing: Sequence[Mapping[str, Any]] = ()
    sufficient_at: datetime | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class AliasRow:
    """Which model has an alias, and since when: by the database's clock, and by the market's."""

    strategy: str
    alias: Alias
    model_id: str
    since: datetime
    since_market: datetime


@dataclass(frozen=True, slots=True)
class ModelDecision:
    """A decision about which model of a strategy is in use.

    ``kind``: ``test`` (on the hold-out ``holdout_from`` to ``holdout_until``, with ``figures``; ``reasons``: what spoke
    against it), ``forced`` or ``rollback`` (by the person ``decided_by``, for ``reason``). ``incumbent_id``: the
    champion at the time. ``decided_at`` is set by the database.
    """

    strategy: str
    kind: DecisionKind
    promoted: bool
    market_time: datetime
    model_id: str
    incumbent_id: str | None
    holdout_from: datetime | None = None
    holdout_until: datetime | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    reason: str | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """What was predicted of one setup: the subject is ``strategy``, ``instrument`` and ``signal_ts``.

    ``live``: made right after the features of the signal bar. ``raw``: log-odds before calibration; ``p_star``: the
    probability at which nothing is won or lost. ``decision`` and ``size_factor`` follow from ``ml_mode``. ``refused``:
    why the model refused, in a word, and ``refusal`` in a sentence; then there is no probability, and the rules decide.
    ``inputs`` in the order of the model's ``input_names``; ``contributions`` likewise, then the base value; their sum
    is ``raw``. ``made_at`` is set by the database.
    """

    strategy: str
    instrument: str
    signal_ts: datetime
    model_id: str
    params_hash: str
    feature_schema_hash: str
    live: bool
    ml_mode: str
    decision: str
    size_factor: float
    inputs: tuple[float | None, ...]
    probability: float | None = None
    raw: float | None = None
    p_star: float | None = None
    refused: str | None = None
    refusal: str | None = None
    contributions: tuple[float, ...] | None = None
    made_at: datetime | None = None
