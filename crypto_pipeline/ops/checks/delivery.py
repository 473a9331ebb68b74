"""Checks of the delivery of alerts: the notifier works, and what it sends arrives."""

from __future__ import annotations

from crypto_pipeline.ops.checks.definition import CheckDefinition
from crypto_pipeline.ops.checks.observation import SILENT, Observation
from crypto_pipeline.ops.checks.states import CheckFinding, bad, ok, unknown

NOTIFIER = "notifier"


def _notifier(seen: Observation) -> CheckFinding:
    beat = seen.known.heartbeats.get(NOTIFIER)
    if beat is None:
        return unknown("the notifier has not run on this database yet")
    if beat[0] > SILENT * 2:
        return bad(f"the notifier has said nothing for {beat[0]:.0f} s: no alert is sent", beat[0])
    return ok("the notifier works", beat[0])


CHECKS = (
    CheckDefinition(
        "notifier", "error_recovery", "The program that sends alerts works.", "critical", f"≤ {SILENT * 2:g} s", "s",
        requires=("database", "database_writable"), evaluate=_notifier,
    ),
)  # fmt: skip
