"""One report of what was done at several venues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from crypto_pipeline.healing.comparison.rotation import ComparisonReport
from crypto_pipeline.healing.reports import HealReport, ReconcileReport
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.severity import SEVERITIES


def merge_reports(reports: Sequence[HealReport], failures: Mapping[str, str]) -> HealReport:
    """The sum of the counts; ``failures`` are problems under the name of their venue."""
    merged = HealReport(problems=dict(failures))
    for report in reports:
        for timeframe, counts in report.counts.items():
            merged.of(timeframe).add(counts)
        merged.problems.update(report.problems)
        merged.waiting += report.waiting
    return merged


def merge_reconciliations(reports: Sequence[ReconcileReport], failures: Mapping[str, str]) -> ReconcileReport:
    """The sum of the figures; ``failures`` are problems under the name of their venue."""
    merged = ReconcileReport(problems=dict(failures))
    for report in reports:
        merged.add(report)
    return merged


def merge_comparisons(reports: Sequence[ComparisonReport], failures: Mapping[str, str]) -> ComparisonReport:
    """The sum of the figures; the pass ended as the one that left most days did."""
    most = max(reports, key=lambda report: report.left)
    merged = ComparisonReport(problems=dict(failures), ended=most.ended)
    for report in reports:
        merged.add(report)
        merged.days += report.days
        merged.left += report.left
        merged.units += report.units
        merged.failed += report.failed
    return merged


def merge_outcomes(of_venues: Sequence[Sequence[CheckOutcome]]) -> list[CheckOutcome]:
    """One outcome for each check and subject: it passes where it passes at every venue."""
    groups: dict[tuple[str, str], list[CheckOutcome]] = {}
    for outcomes in of_venues:
        for outcome in outcomes:
            groups.setdefault((outcome.name, str(outcome.subject)), []).append(outcome)
    return [_merged(group) for group in groups.values()]


def _merged(group: Sequence[CheckOutcome]) -> CheckOutcome:
    if len(group) == 1:
        return group[0]
    failed = [one for one in group if not one.passed]
    gravest = min(failed or group, key=lambda one: SEVERITIES.index(one.severity))
    figures: dict[str, float] = {}
    for one in group:
        for name, value in one.figures.items():
            summed = name not in _NOT_SUMMED
            figures[name] = figures.get(name, 0) + value if summed else max(figures.get(name, value), value)
    frames = [one.offenders for one in group if not one.offenders.is_empty()]
    return replace(
        gravest,
        passed=not failed,
        summary="; ".join(dict.fromkeys(one.summary for one in failed or group)),
        offenders=pl.concat(frames, how="diagonal") if frames else gravest.offenders,
        figures=figures,
    )


#: Figures of which the largest counts.
_NOT_SUMMED = {"overdue_seconds", "share_compared"}
