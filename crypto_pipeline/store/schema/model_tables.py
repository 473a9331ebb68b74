"""Tables of trained models, typed for SQLAlchemy Core: see ``tables``."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, ForeignKeyConstraint, Identity, Table, Text, func
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSONB, TIMESTAMP

from crypto_pipeline.store.schema.tables import METADATA

_TIME = TIMESTAMP(timezone=True)
_CLOCK = func.clock_timestamp()


def _required(name: str, kind: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, nullable=False, **options)


def _of_model(column: str) -> ForeignKeyConstraint:
    """A model of the same strategy."""
    return ForeignKeyConstraint(["strategy", column], ["research.models.strategy", "research.models.model_id"])


MODELS = Table(
    "models",
    METADATA,
    Column("model_id", Text, primary_key=True),
    _required("strategy", Text),
    _required("status", Text),
    _required("blocked_because", ARRAY(Text), server_default="{}"),
    _required("created_at", _TIME, server_default=_CLOCK),
    *(_required(name, _TIME) for name in ("trained_from", "trained_until", "holdout_from", "holdout_until")),
    *(_required(name, Text) for name in ("feature_schema_hash", "params_hash", "loose_hash")),
    _required("input_names", ARRAY(Text)),
    *(_required(name, JSONB) for name in ("metrics", "manifest")),
    *(_required(name, Text) for name in ("sha256", "document")),
    schema="research",
)

MODEL_ALIASES = Table(
    "model_aliases",
    METADATA,
    Column("strategy", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    _required("model_id", Text),
    _required("since", _TIME, server_default=_CLOCK),
    _required("since_market", _TIME),
    _of_model("model_id"),
    schema="research",
)

MODEL_DECISIONS = Table(
    "model_decisions",
    METADATA,
    Column("decision_id", BigInteger, Identity(always=True), primary_key=True),
    _required("strategy", Text),
    _required("kind", Text),
    _required("promoted", Boolean),
    _required("decided_at", _TIME, server_default=_CLOCK),
    _required("market_time", _TIME),
    _required("model_id", Text),
    Column("incumbent_id", Text),
    *(Column(name, _TIME) for name in ("holdout_from", "holdout_until")),
    _required("figures", JSONB, server_default="{}"),
    _required("reasons", ARRAY(Text), server_default="{}"),
    *(Column(name, Text) for name in ("reason", "decided_by")),
    _of_model("model_id"),
    _of_model("incumbent_id"),
    schema="research",
)

MODEL_RUNS = Table(
    "model_runs",
    METADATA,
    Column("run_id", BigInteger, Identity(always=True), primary_key=True),
    _required("strategy", Text),
    _required("status", Text),
    _required("started_at", _TIME),
    _required("seconds", DOUBLE_PRECISION),
    _required("market_time", _TIME),
    Column("model_id", Text),
    _required("missing", JSONB, server_default="[]"),
    Column("sufficient_at", _TIME),
    _required("detail", JSONB, server_default="{}"),
    Column("error", Text),
    _of_model("model_id"),
    schema="research",
)
