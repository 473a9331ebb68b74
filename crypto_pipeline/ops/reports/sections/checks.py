"""The score of all checks, failing ones first, and the age of features."""

from __future__ import annotations

from datetime import UTC, datetime

from crypto_pipeline.ops.alerting.messages import length_text
from crypto_pipeline.ops.checks.states import CheckState
from crypto_pipeline.ops.reports.content import ReportSection, ReportTable
from crypto_pipeline.ops.reports.source import ReportSource

_MOST = 40


def score(source: ReportSource) -> ReportSection:
    """How many checks are ok, and those that are not."""
    states = source.checks
    bad = [one for one in states if one.status == "bad"]
    unknown = [one for one in states if one.status == "unknown"]
    well = len(states) - len(bad) - len(unknown)
    said = f"{well} of {len(states)} checks are ok"
    if bad:
        said += f", {len(bad)} are bad: {', '.join(dict.fromkeys(one.name for one in bad))}"
    if unknown:
        said += f", {len(unknown)} are unknown"
    tables = [_table(title, rows) for title, rows in (("Bad", bad), ("Unknown", unknown)) if rows]
    return ReportSection("score", "Checks", said, "bad" if bad else "unknown" if unknown else "good", tables)


def _table(title: str, states: list[CheckState]) -> ReportTable:
    now = datetime.now(UTC)
    rows = [
        (
            one.label,
            one.severity,
            length_text(now - one.since) if one.since else None,
            None if one.figure is None else f"{one.figure:,.4g} {one.unit}".rstrip(),
            one.threshold or None,
            one.summary,
            one.runbook,
        )
        for one in states[:_MOST]
    ]
    columns = ("check", "severity", "for", "figure", "should be", "because", "runbook")
    return ReportTable(columns, rows, title if len(states) <= _MOST else f"{title} (the first {_MOST})")


def features(source: ReportSource) -> ReportSection:
    """The age of the newest features, by the checks about them."""
    about = [one for one in source.checks if one.name == "features_age"]
    if not about:
        return ReportSection("features", "Features", "Nothing is known of features.", "unknown")
    state = about[0]
    mood = {"ok": "good", "bad": "bad", "unknown": "unknown"}[state.status]
    return ReportSection("features", "Features", f"{state.summary[0].upper()}{state.summary[1:]}.", mood)  # type: ignore[arg-type]
