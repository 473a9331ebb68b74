"""The registry of all checks. A room that has checks of its own adds a module of ``subjects`` with ``CHECKS`` here."""

from __future__ import annotations

from functools import lru_cache

from crypto_pipeline.ops.checks.definition import CheckDefinition
from crypto_pipeline.ops.checks.subjects import (
    bars,
    database,
    delivery,
    host,
    models,
    programs,
    scheduled,
    stored_data,
    trading,
)
from crypto_pipeline.settings import Settings

#: In the order of evaluation: a check stands after those that it requires.
_SUBJECTS = (database, programs, bars, models, trading, scheduled, host, delivery, stored_data)


@lru_cache(maxsize=1)
def definitions() -> dict[str, CheckDefinition]:
    """Every check by its name, in the order of evaluation. Raises ValueError for a name that stands twice."""
    found: dict[str, CheckDefinition] = {}
    for subject in _SUBJECTS:
        for definition in subject.CHECKS:
            if definition.name in found:
                raise ValueError(f"check {definition.name!r} is defined twice")
            found[definition.name] = definition
    return found


def definition_of(source: str) -> CheckDefinition | None:
    """The definition of the result or alert called ``source`` (``name`` or ``name:subject``); None if there is none."""
    return definitions().get(source) or definitions().get(source.partition(":")[0])


def operational(settings: Settings) -> list[CheckDefinition]:
    """The checks that are evaluated several times a minute, in order, as far as these settings have them."""
    return [one for one in definitions().values() if one.evaluate is not None and one.applies(settings)]


def stored_by_runs(settings: Settings) -> list[CheckDefinition]:
    """The checks whose results runs of Dagster store, as far as these settings have them."""
    return [one for one in definitions().values() if one.evaluate is None and one.applies(settings)]


def is_operational(source: str) -> bool:
    """Whether the result or alert called ``source`` is of a check that is evaluated several times a minute."""
    definition = definitions().get(source)
    return definition is not None and definition.evaluate is not None
