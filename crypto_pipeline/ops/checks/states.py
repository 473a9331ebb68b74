"""The state of a check: ok, bad or unknown. Nothing is ok that was not shown to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

from crypto_pipeline.market.severity import SEVERITIES, Severity

Status: TypeAlias = Literal["ok", "bad", "unknown"]
Overall: TypeAlias = Literal["ok", "degraded", "critical", "unknown"]
#: What a check is about. Rooms that come later fill those that are empty now.
Category: TypeAlias = Literal[
    "data_pipeline", "strategies", "models", "risk", "error_recovery", "edge_cases", "load"
]  # fmt: skip
CATEGORIES: tuple[Category, ...] = get_args(Category)


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """The outcome of one evaluation.

    Attributes:
        status: ok, bad, or unknown where nothing was proven.
        summary: For people, one line.
        figure: What was measured, in the unit of the check; None where there is no figure.
        severity: Of this failure, where it differs from that of the definition.
        offenders: What fails, one mapping each (``instrument``, ``venue`` …), JSON-ready.
    """

    status: Status
    summary: str
    figure: float | None = None
    severity: Severity | None = None
    offenders: tuple[Mapping[str, Any], ...] = ()


def ok(summary: str, figure: float | None = None) -> CheckFinding:
    """The finding that all is well."""
    return CheckFinding("ok", summary, figure)


def bad(
    summary: str,
    figure: float | None = None,
    severity: Severity | None = None,
    offenders: Iterable[Mapping[str, Any]] = (),
) -> CheckFinding:
    """The finding of a failure; ``severity`` where it differs from that of the definition."""
    return CheckFinding("bad", summary, figure, severity, tuple(offenders))


def unknown(summary: str) -> CheckFinding:
    """The finding that nothing was proven either way."""
    return CheckFinding("unknown", summary)


@dataclass(frozen=True, slots=True)
class CheckState:
    """The newest state of one check on one subject.

    Attributes:
        name: Of the check, as in the registry.
        subject: A timeframe, strategy or venue; empty where the check has none.
        category: One of CATEGORIES.
        status: ok, bad or unknown.
        severity: How grave a failure is: info, warning, error or critical.
        summary: For people, one line.
        figure: What was measured; None where there is no figure.
        unit: Of the figure.
        threshold: What the figure is compared with, for people.
        since: Since when the status is the same, UTC; None: not recorded yet.
        checked_at: When it was evaluated, UTC; None: never.
        runbook: Page and anchor of the advice: ``docs/runbook.md#name``.
        source: Name of the result and of its alert in the database.
        offenders: What fails, one mapping each, JSON-ready.
    """

    name: str
    subject: str
    category: Category
    status: Status
    severity: Severity
    summary: str
    figure: float | None
    unit: str
    threshold: str
    since: datetime | None
    checked_at: datetime | None
    runbook: str
    source: str
    offenders: tuple[Mapping[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """Name and subject in one."""
        return f"{self.name} {self.subject}".rstrip()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready but for times, which stay datetimes."""
        return {
            "check": self.name, "subject": self.subject or None, "category": self.category, "status": self.status,
            "severity": self.severity, "summary": self.summary, "figure": self.figure, "unit": self.unit or None,
            "threshold": self.threshold or None, "since": self.since, "checked_at": self.checked_at,
            "runbook": self.runbook, "offenders": [dict(one) for one in self.offenders],
        }  # fmt: skip


def overall(states: Iterable[CheckState]) -> Overall:
    """One word for all: critical where a bad check is, then degraded, then unknown, then ok.

    Without any check it is unknown.
    """
    states = list(states)
    bad = [one for one in states if one.status == "bad"]
    if any(one.severity == "critical" for one in bad):
        return "critical"
    if bad:
        return "degraded"
    return "unknown" if not states or any(one.status == "unknown" for one in states) else "ok"


def worst_first(states: Iterable[CheckState]) -> list[CheckState]:
    """Bad ones first, the gravest before the others; then unknown ones, then those that are ok; by name."""
    order = ("bad", "unknown", "ok")
    return sorted(
        states, key=lambda one: (order.index(one.status), SEVERITIES.index(one.severity), one.name, one.subject)
    )
