"""The definition of a check: what it promises, how grave its failure is, and how it is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from crypto_pipeline.market.severity import Severity
from crypto_pipeline.ops.checks.observation import Observation
from crypto_pipeline.ops.checks.states import Category, CheckFinding, CheckState
from crypto_pipeline.settings import Settings

RUNBOOK = "docs/runbook.md"
#: A result of an operational check, which is evaluated several times a minute, says nothing after this long.
CURRENT = timedelta(seconds=90)


@dataclass(frozen=True, slots=True)
class CheckDefinition:
    """One named check.

    Attributes:
        name: Of the check, of its alert, and of its paragraph in the runbook.
        category: What it is about.
        promise: What holds while it is ok, one sentence.
        severity: How grave a failure is, unless the finding says otherwise.
        threshold: What its figure is compared with, for people; ``{settings.name}`` is a setting.
        unit: Of the figure.
        valid_for: A result that is older says nothing: the check is unknown.
        requires: Checks without which this one proves nothing: while one of them is not ok, this one is unknown.
        covers: Sources of alerts that say the same; they are not announced while this check is bad.
        evaluate: Judges the observation. None: runs of Dagster evaluate the check and store its result.
        subjects: Of a check whose results are stored by runs: those without which it has not run.
        applies: Whether a deployment with these settings has the check.
    """

    name: str
    category: Category
    promise: str
    severity: Severity = "error"
    threshold: str = ""
    unit: str = ""
    valid_for: timedelta = CURRENT
    requires: tuple[str, ...] = ()
    covers: tuple[str, ...] = ()
    evaluate: Callable[[Observation], CheckFinding] | None = None
    subjects: tuple[str, ...] = ("",)
    applies: Callable[[Settings], bool] = lambda settings: True

    @property
    def runbook(self) -> str:
        """Page and anchor of the advice."""
        return f"{RUNBOOK}#{self.name}"

    def limit(self, settings: Settings) -> str:
        """The threshold with the settings that it names."""
        return self.threshold.format(settings=settings)

    def state(self, finding: CheckFinding, settings: Settings) -> CheckState:
        """The state that a finding of now means; its times are not known yet."""
        return CheckState(
            name=self.name, subject="", category=self.category, status=finding.status,
            severity=finding.severity or self.severity, summary=finding.summary, figure=finding.figure,
            unit=self.unit, threshold=self.limit(settings), since=None, checked_at=None, runbook=self.runbook,
            source=self.name, offenders=finding.offenders,
        )  # fmt: skip
