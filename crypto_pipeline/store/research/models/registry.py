"""Models in the database: what was trained, which model is in use, and every decision about it.

Whatever belongs together is one transaction: a model, its run and its alias; a decision and the aliases that it
changes. A process that is killed leaves all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.values import plain
from crypto_pipeline.store.research.models.rows import Alias, AliasRow, ModelDecision, ModelRun, NewModel, StoredModel

if TYPE_CHECKING:
    import sqlalchemy

    from crypto_pipeline.store.research.models.predictions import Predictions

_LOCK_SPACE = 0x6D6F646C  # "modl"
_CHAMPIONS = "SELECT strategy, model_id FROM research.model_aliases WHERE alias = 'champion'"
_JSON = ("metrics", "manifest", "figures", "missing", "detail")


class DecisionOvertakenError(StoreError):
    """Another process changed what a decision rests on; nothing was changed, and it is to be decided anew."""


@fork_safety.with_parts
class Models:
    """Reads and writes ``research.models``, ``model_aliases``, ``model_decisions`` and ``model_runs``. Thread-safe."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    @cached_property
    def predictions(self) -> Predictions:
        """What models predicted."""
        from crypto_pipeline.store.research.models.predictions import Predictions

        return Predictions(self._connections, self._symbols)

    # Writing

    def add(self, model: NewModel, run: ModelRun) -> str:
        """Store a trained model and the run that made it, in one transaction; return its id.

        It becomes the challenger of its strategy unless it is blocked, or the champion already. A model that was
        stored before (the same document) is not stored again.
        """
        from sqlalchemy.dialects.postgresql import insert

        from crypto_pipeline.store.schema.model_tables import MODEL_RUNS, MODELS

        values = _values(model) | {
            "model_id": model.model_id,
            "status": "blocked" if model.blocked_because else "candidate",
            "blocked_because": list(model.blocked_because),
            "input_names": list(model.input_names),
        }

        def work(connection: sqlalchemy.Connection) -> str:
            _lock(connection, model.strategy)
            connection.execute(insert(MODELS).values(values).on_conflict_do_nothing(index_elements=["model_id"]))
            connection.execute(insert(MODEL_RUNS).values(_values(run) | {"model_id": model.model_id}))
            champion = _aliases(connection, model.strategy).get("champion")
            if not model.blocked_because and (champion is None or champion.model_id != model.model_id):
                _set_alias(connection, model.strategy, "challenger", model.model_id, run.market_time)
            return model.model_id

        return self._connections.run_core(work)

    def note_run(self, run: ModelRun) -> None:
        """Store the outcome of a training that made no model."""
        from sqlalchemy import insert

        from crypto_pipeline.store.schema.model_tables import MODEL_RUNS

        self._connections.run_core(
            lambda connection: connection.execute(insert(MODEL_RUNS).values(_values(run))) and None
        )

    def decide(self, decision: ModelDecision) -> None:
        """Store a decision; where it promotes a model, make it the champion and the champion before it ``previous``.

        One transaction. Raises DecisionOvertakenError if the champion is no longer ``incumbent_id``, or a test
        has used a part of the hold-out meanwhile; StoreError if there is no such model.
        """
        from sqlalchemy import insert

        from crypto_pipeline.store.schema.model_tables import MODEL_DECISIONS

        def work(connection: sqlalchemy.Connection) -> None:
            _lock(connection, decision.strategy)
            now = _aliases(connection, decision.strategy)
            champion = now["champion"].model_id if "champion" in now else None
            if champion != decision.incumbent_id:
                raise DecisionOvertakenError(f"the champion of {decision.strategy} has changed meanwhile: decide again")
            _refuse_unknown(connection, decision.strategy, decision.model_id)
            if decision.kind == "test":
                _refuse_used(connection, decision)
            values = _values(decision) | {"reasons": list(decision.reasons)}
            del values["decided_at"]
            connection.execute(insert(MODEL_DECISIONS).values(values))
            if decision.promoted:
                _promote(connection, decision, now)

        self._connections.run_core(work)

    # Reading

    def champions(self) -> dict[str, str]:
        """The champion's id by strategy. One short query."""
        return dict(self._connections.rows(_CHAMPIONS))

    def aliases(self, strategy: str) -> dict[Alias, AliasRow]:
        """The aliases that a strategy has."""
        return self._connections.run_core(_aliases, strategy)

    def find(self, name: str, strategy: str | None = None) -> StoredModel:
        """The model whose id begins with ``name``, or, with ``strategy``, that has the alias ``name``.

        Raises StoreError when there is none, or more than one.
        """
        named = {} if strategy is None else {str(alias): row.model_id for alias, row in self.aliases(strategy).items()}
        name = named.get(name, name)
        found = [model for model in self.every(strategy) if model.model_id.startswith(name)]
        if len(found) != 1:
            what = "several models begin" if found else "no model begins"
            raise StoreError(f"{what} with {name!r}: `crypto-pipeline models list` shows them")
        return found[0]

    def every(self, strategy: str | None = None) -> list[StoredModel]:
        """Every model, the newest first."""
        from sqlalchemy import select

        from crypto_pipeline.store.schema.model_tables import MODELS

        columns = [MODELS.c[name] for name in StoredModel.__dataclass_fields__]
        query = select(*columns).order_by(MODELS.c.created_at.desc(), MODELS.c.model_id)
        if strategy is not None:
            query = query.where(MODELS.c.strategy == strategy)
        rows = self._connections.run_core(lambda connection: connection.execute(query).mappings().all())
        tuples = ("blocked_because", "input_names")
        return [StoredModel(**(dict(row) | {name: tuple(row[name]) for name in tuples})) for row in rows]

    def document(self, model_id: str) -> tuple[str, str]:
        """Document and SHA-256 of a model. Raises StoreError if there is no such model."""
        found = self._connections.rows("SELECT document, sha256 FROM research.models WHERE model_id = %s", [model_id])
        if not found:
            raise StoreError(f"there is no model {model_id!r}: `crypto-pipeline models list` shows them")
        return found[0][0], found[0][1]

    def decisions(self, strategy: str | None = None) -> list[ModelDecision]:
        """Every decision, the newest first."""
        from sqlalchemy import select

        from crypto_pipeline.store.schema.model_tables import MODEL_DECISIONS

        columns = [MODEL_DECISIONS.c[name] for name in ModelDecision.__dataclass_fields__]
        query = select(*columns).order_by(MODEL_DECISIONS.c.decision_id.desc())
        if strategy is not None:
            query = query.where(MODEL_DECISIONS.c.strategy == strategy)
        rows = self._connections.run_core(lambda connection: connection.execute(query).mappings().all())
        return [ModelDecision(**(dict(row) | {"reasons": tuple(row["reasons"])})) for row in rows]

    def newest_run(self, strategy: str) -> ModelRun | None:
        """The outcome of the newest training; None if there was none."""
        from sqlalchemy import select

        from crypto_pipeline.store.schema.model_tables import MODEL_RUNS

        columns = [MODEL_RUNS.c[name] for name in ModelRun.__dataclass_fields__]
        query = select(*columns).where(MODEL_RUNS.c.strategy == strategy).order_by(MODEL_RUNS.c.run_id.desc()).limit(1)
        row = self._connections.run_core(lambda connection: connection.execute(query).mappings().first())
        return None if row is None else ModelRun(**row)


def _values(row: NewModel | ModelRun | ModelDecision) -> dict[str, Any]:
    """Fields as columns; what goes to ``jsonb`` without NaN."""
    values = {name: getattr(row, name) for name in row.__dataclass_fields__}
    return values | {name: plain(_listed(values[name])) for name in _JSON if name in values}


def _listed(value: Any) -> Any:
    return value if isinstance(value, Mapping) else [dict(each) for each in value]


def _lock(connection: sqlalchemy.Connection, strategy: str) -> None:
    """Let changes of one strategy take turns until the end of the transaction."""
    from sqlalchemy import func, select

    connection.execute(select(func.pg_advisory_xact_lock(_LOCK_SPACE, func.hashtext(strategy))))


def _aliases(connection: sqlalchemy.Connection, strategy: str) -> dict[Alias, AliasRow]:
    from sqlalchemy import select

    from crypto_pipeline.store.schema.model_tables import MODEL_ALIASES

    columns = [MODEL_ALIASES.c[name] for name in AliasRow.__dataclass_fields__]
    rows = connection.execute(select(*columns).where(MODEL_ALIASES.c.strategy == strategy)).mappings()
    return {row["alias"]: AliasRow(**row) for row in rows}


def _set_alias(
    connection: sqlalchemy.Connection, strategy: str, alias: Alias, model_id: str, market_time: datetime
) -> None:
    from sqlalchemy import func
    from sqlalchemy.dialects.postgresql import insert

    from crypto_pipeline.store.schema.model_tables import MODEL_ALIASES

    changed = {"model_id": model_id, "since": func.clock_timestamp(), "since_market": market_time}
    row = insert(MODEL_ALIASES).values(strategy=strategy, alias=alias, **changed)
    connection.execute(row.on_conflict_do_update(index_elements=["strategy", "alias"], set_=changed))


def _refuse_unknown(connection: sqlalchemy.Connection, strategy: str, model_id: str) -> None:
    from sqlalchemy import select

    from crypto_pipeline.store.schema.model_tables import MODELS

    found = connection.scalar(select(MODELS.c.strategy).where(MODELS.c.model_id == model_id))
    if found != strategy:
        raise StoreError(f"{strategy} has no model {model_id!r}: `crypto-pipeline models list` shows them")


def _refuse_used(connection: sqlalchemy.Connection, decision: ModelDecision) -> None:
    """No test uses a part of a hold-out that an earlier one used."""
    from sqlalchemy import select

    from crypto_pipeline.store.schema.model_tables import MODEL_DECISIONS

    columns = MODEL_DECISIONS.c
    overlapping = select(columns.decision_id).where(
        columns.strategy == decision.strategy, columns.kind == "test",
        columns.holdout_from < decision.holdout_until, columns.holdout_until > decision.holdout_from,
    )  # fmt: skip
    if connection.scalar(overlapping.limit(1)) is not None:
        raise DecisionOvertakenError(f"an earlier test of {decision.strategy} used a part of this hold-out")


def _promote(connection: sqlalchemy.Connection, decision: ModelDecision, now: Mapping[Alias, AliasRow]) -> None:
    """Give the aliases as ``decision`` says; ``now``: as they are."""
    from sqlalchemy import delete

    from crypto_pipeline.store.schema.model_tables import MODEL_ALIASES

    columns = MODEL_ALIASES.c
    strategy, model_id = decision.strategy, decision.model_id
    if decision.incumbent_id is not None and decision.incumbent_id != model_id:
        _set_alias(connection, strategy, "previous", decision.incumbent_id, decision.market_time)
    _set_alias(connection, strategy, "champion", model_id, decision.market_time)
    if "challenger" in now and now["challenger"].model_id == model_id:
        connection.execute(delete(MODEL_ALIASES).where(columns.strategy == strategy, columns.alias == "challenger"))
