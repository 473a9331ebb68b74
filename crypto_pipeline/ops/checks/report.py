"""All checks at once, for the command and for reports: operational ones evaluated now, the others as stored."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from crypto_pipeline.ops.checks.evaluation import Evaluator
from crypto_pipeline.ops.checks.recorded import states_from
from crypto_pipeline.ops.checks.states import CATEGORIES, CheckState, worst_first
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.settings import Settings


def look(settings: Settings) -> list[CheckState]:
    """The state of every check now, the worst first. A database that does not answer is a state, no error."""
    with closing(Evaluator(settings)) as evaluator:
        now = evaluator.with_times(evaluator.evaluate())
        evaluated = {state.name for state in now}
        away = next((state.name for state in now if state.name == "database" and state.status == "bad"), None)
        stored = states_from(evaluator.stored(), settings)
    rest = [state for state in stored if state.name not in evaluated]
    if away is not None:
        rest = [replace(state, summary="it cannot be judged because of database") for state in rest]
    return worst_first([*now, *rest])


def of_category(states: Sequence[CheckState], category: str | None) -> list[CheckState]:
    """The states of one category, or all. Raises OpsError for a category that does not exist."""
    if category is not None and category not in CATEGORIES:
        raise OpsError(f"{category!r} is no category of checks: use one of {', '.join(CATEGORIES)}")
    return [state for state in states if category in (None, state.category)]


def exit_code(states: Sequence[CheckState]) -> int:
    """0: all are ok; 1: one is bad; 2: none is bad, but one is unknown, or there is no check."""
    if any(state.status == "bad" for state in states):
        return 1
    return 2 if not states or any(state.status == "unknown" for state in states) else 0
