"""A report as a message of Slack: the headline of every section, and the rows that tell of something wrong."""

from __future__ import annotations

from collections.abc import Mapping

from crypto_pipeline.ops.alerting.messages import (
    Announcement,
    Block,
    cut,
    divider,
    escaped,
    header,
    section,
    small_print,
    within_limits,
)
from crypto_pipeline.ops.reports.content import ReportContent, ReportSection, ReportTable, shown

_MARKS = {
    "good": ":large_green_circle:",
    "bad": ":red_circle:",
    "unknown": ":white_circle:",
    "plain": ":small_blue_diamond:",
}
#: Rows of a table in the message; the file has all.
_ROWS = 8
_WIDE = {"because", "runbook"}


def report_message(content: ReportContent, files: Mapping[str, str], file: str) -> Announcement:
    """The message about a report. ``files``: pictures by title; ``file``: where the whole report lies."""
    mark = _MARKS["bad"] if content.bad else _MARKS["good"]
    span = f"{content.start:%Y-%m-%d %H:%M} to {content.end:%Y-%m-%d %H:%M} UTC"
    blocks: list[Block] = [
        header(f"{mark} {content.title}"),
        small_print(f"{span} · zone {escaped(content.time_zone)}"),
    ]
    texts = [span]
    for one in content.sections:
        blocks.append(section(f"{_MARKS[one.mood]} *{escaped(one.title)}*\n{escaped(cut(one.headline, 1_000))}"))
        texts.append(f"{one.title}: {one.headline}")
        blocks += [section(f"```{escaped(text)}```") for text in _details(one)]
    end = f"The whole report with its charts: {file}"
    blocks += [divider(), small_print(escaped(end))]
    texts.append(end)
    return Announcement(
        content.title, "\n".join(texts), "warning" if content.bad else "info", within_limits(blocks), dict(files)
    )


def _details(one: ReportSection) -> list[str]:
    """The first rows of each table of a section that has bad news."""
    return [cut(_aligned(table), 2_700) for table in one.tables] if one.mood == "bad" else []


def _aligned(table: ReportTable) -> str:
    """A table in columns of equal width; long texts last and cut."""
    order = sorted(range(len(table.columns)), key=lambda place: table.columns[place] in _WIDE)
    order = [place for place in order if table.columns[place] != "runbook"]
    rows = [[cut(shown(row[place]), 70) for place in order] for row in table.rows[:_ROWS]]
    head = [table.columns[place] for place in order]
    widths = [max(len(line[place]) for line in [head, *rows]) for place in range(len(order))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in [head, *rows]]
    if len(table.rows) > _ROWS:
        lines.append(f"… and {len(table.rows) - _ROWS} more")
    return "\n".join(line.rstrip() for line in lines)
