"""The stored states of all checks: what was evaluated last, and unknown where that says nothing any more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import cast

from crypto_pipeline.market.severity import Severity
from crypto_pipeline.ops.checks.definition import CheckDefinition
from crypto_pipeline.ops.checks.registry import definition_of, operational, stored_by_runs
from crypto_pipeline.ops.checks.states import CheckState, Status
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.operations.check_states import StoredState


def recorded_states(store: Store, settings: Settings) -> list[CheckState]:
    """The state of every check of a deployment with these settings, from one bounded query. Raises StoreError."""
    return states_from(store.checks.states(), settings)


def states_from(rows: Sequence[StoredState], settings: Settings) -> list[CheckState]:
    """The states that stored rows mean. A check without a row, or whose row is too old, is unknown."""
    by_check: dict[str, list[StoredState]] = defaultdict(list)
    for row in rows:
        if (definition := definition_of(row.source)) is not None:
            by_check[definition.name].append(row)
    found: list[CheckState] = []
    for definition in (*operational(settings), *stored_by_runs(settings)):
        stored = by_check[definition.name]
        found += [_state(definition, row, settings) for row in stored]
        there = {row.subject if row.source == definition.name else "" for row in stored}
        found += [_never(definition, subject, settings) for subject in definition.subjects if subject not in there]
    return found


def _state(definition: CheckDefinition, row: StoredState, settings: Settings) -> CheckState:
    # Results of features, labels and venues are named `check:subject`.
    subject = row.source.partition(":")[2] or row.subject
    status, summary = cast(Status, row.status), row.summary
    if row.severity == "info" and status == "bad":
        status = "ok"  # worth knowing, and no failure
    if row.age > definition.valid_for.total_seconds():
        age = timedelta(seconds=round(row.age))
        status, summary = "unknown", f"the last result is {age} old and says nothing any more; it was: {row.summary}"
    return CheckState(
        name=definition.name, subject=subject, category=definition.category, status=status,
        severity=cast(Severity, row.severity), summary=summary, figure=row.figure, unit=definition.unit,
        threshold=row.threshold or definition.limit(settings), since=row.since, checked_at=row.checked_at,
        runbook=definition.runbook, source=row.source, offenders=tuple(row.offenders),
    )  # fmt: skip


def _never(definition: CheckDefinition, subject: str, settings: Settings) -> CheckState:
    return CheckState(
        name=definition.name, subject=subject, category=definition.category, status="unknown",
        severity=definition.severity, summary="it has not run yet", figure=None, unit=definition.unit,
        threshold=definition.limit(settings), since=None, checked_at=None, runbook=definition.runbook,
        source=definition.name,
    )  # fmt: skip
