"""Checks of the models in use, between the nightly ones: that they answer, and in time.

Without a model in use there is nothing to answer: the rules alone decide, which is no failure. What a model is worth
is checked by runs (see ``stored_data``).
"""

from __future__ import annotations

from crypto_pipeline.ops.checks.definition import CheckDefinition
from crypto_pipeline.ops.checks.observation import Observation
from crypto_pipeline.ops.checks.states import CheckFinding, bad, ok

_NONE = "no strategy has a model in use: the rules alone decide"
#: Of the last day's predictions so many percent may be refused, or late, before somebody is told; and the number below
#: which a share says nothing.
_SHARE, _FEW = 10.0, 10


def _answers(seen: Observation) -> CheckFinding:
    models = seen.known.models
    if not models:
        return ok(_NONE, 0.0)
    offenders = []
    for one in models:
        share = 100 * one.refused / one.predictions if one.predictions else 0.0
        if one.refused_all or (one.predictions >= _FEW and share > _SHARE):
            counts = {"refused": one.refused, "of": one.predictions}
            offenders.append({"strategy": one.strategy, "model": one.model_id, **counts, "because": one.said})
    total, refused = sum(one.predictions for one in models), sum(one.refused for one in models)
    figure = 100 * refused / total if total else 0.0
    if not offenders:
        return ok(f"{len(models)} models in use; {refused} of {total} setups of the last day refused", figure)
    said = "; ".join(
        f"{one['strategy']} refused {one['refused']} of {one['of']}: {one['because']}" for one in offenders
    )
    return bad(f"{said}. The rules alone decide about them", figure, offenders=offenders)


def _in_time(seen: Observation) -> CheckFinding:
    models = seen.known.models
    if not models:
        return ok(_NONE, 0.0)
    total, late = sum(one.predictions for one in models), sum(one.late for one in models)
    share = 100 * late / total if total else 0.0
    said = f"{late} of {total} predictions of the last day were not made right after their bar"
    if total < _FEW or share <= _SHARE:
        return ok(said, share)
    return bad(said, share, offenders=[{"strategy": one.strategy, "late": one.late} for one in models if one.late])


CHECKS = (
    CheckDefinition(
        "models_answer", "models", "The models in use answer for the setups that are found.", "error",
        f"≤ {_SHARE:g} % refused", "%", requires=("database",), evaluate=_answers,
    ),
    CheckDefinition(
        "predictions_in_time", "models", "Setups are predicted right after their bar.", "warning",
        f"≤ {_SHARE:g} % late", "%", requires=("database", "ingest"), evaluate=_in_time,
    ),
)  # fmt: skip
