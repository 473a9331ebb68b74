"""Checks of the delivery of alerts: the notifier works, and what it sends arrives."""

from __future__ import annotations

from crypto_pipeline.ops.checks.definition import CheckDefinition
from crypto_pipeline.ops.checks.observation import SILENT, Observation
from crypto_pipeline.ops.checks.states import CheckFinding, bad, ok, unknown
from crypto_pipeline.ops.supervision.programs import NOTIFIER

#: Seconds for which a channel may fail: one refusal and a pause are usual.
FAILING = 10.0


def _notifier(seen: Observation) -> CheckFinding:
    beat = seen.known.heartbeats.get(NOTIFIER)
    if beat is None:
        return unknown("the notifier has not run on this database yet")
    if beat[0] > SILENT * 2:
        return bad(f"the notifier has said nothing for {beat[0]:.0f} s: no alert is sent", beat[0])
    return ok("the notifier works", beat[0])


def _delivered(seen: Observation) -> CheckFinding:
    failing = [one for one in seen.known.channels if one.failing is not None]
    late = [one for one in failing if (one.failing or 0.0) > FAILING]
    if late:
        said = "; ".join(f"{one.name}: {one.error} (messages that wait: {one.waiting})" for one in late)
        offenders = tuple({"channel": one.name, "waiting": one.waiting, "error": one.error} for one in late)
        return bad(f"messages do not arrive by {said}", max(one.failing or 0.0 for one in late), offenders=offenders)
    if not seen.known.channels:
        return ok("no message was to be sent yet", 0.0)
    return ok(
        f"{len(seen.known.channels)} channels take messages", max((one.failing or 0.0 for one in failing), default=0.0)
    )


CHECKS = (
    CheckDefinition(
        "notifier", "error_recovery", "The program that sends alerts works.", "critical", f"≤ {SILENT * 2:g} s", "s",
        requires=("database", "database_writable"), evaluate=_notifier,
    ),
    CheckDefinition(
        "notifications_delivered", "error_recovery", "Every channel takes the messages that are sent.", "error",
        f"≤ {FAILING:g} s", "s", requires=("database", "database_writable", "notifier"), evaluate=_delivered,
    ),
)  # fmt: skip
