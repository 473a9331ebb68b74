"""``report``: what the report of the morning or afternoon says now, without sending it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from crypto_pipeline.ops.reports.content import ReportContent


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(report)


def report(
    which: Annotated[
        str, typer.Argument(metavar="[morning|afternoon]", help="Which report.", show_default=False)
    ] = "morning",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as one HTML file with its charts.")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show the report of the morning or afternoon as it would be now. Nothing is sent or stored."""
    from datetime import UTC, datetime

    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.ops.reports.build import build_report
    from crypto_pipeline.ops.reports.html import report_html
    from crypto_pipeline.ops.reports.times import local_date

    if which not in ("morning", "afternoon"):
        raise BadInput(f"unknown report {which!r}: use morning or afternoon")
    settings = deployment_settings(data_dir)
    day = local_date(datetime.now(UTC), settings.report_time_zone)
    with open_store(settings) as store:
        content = build_report(settings, store, store.url, which, day)  # type: ignore[arg-type]
    if html is not None:
        html.write_text(report_html(content), "utf-8")
        typer.echo(f"written: {html}", err=True)
    if as_json:
        print_json(content.as_dict())
    elif html is None:
        _print(content)


def _print(content: ReportContent) -> None:
    from crypto_pipeline.cli.output import console, table
    from crypto_pipeline.ops.reports.content import shown

    out = console()
    out.print(content.title, style="bold", markup=False)
    out.print(f"{content.start:%Y-%m-%d %H:%M} to {content.end:%Y-%m-%d %H:%M} UTC", markup=False)
    marks = {"good": "ok", "bad": "BAD", "unknown": "?", "plain": "-"}
    for one in content.sections:
        out.print()
        out.print(f"{marks[one.mood]:<4}{one.title}: {one.headline}", markup=False, soft_wrap=True)
        for part in one.tables:
            kept = [place for place, name in enumerate(part.columns) if name != "runbook"]
            rows = [[_cell(row[place], shown(row[place])) for place in kept] for row in part.rows]
            table(part.title, [part.columns[place] for place in kept], rows)


def _cell(value: object, text: str) -> object:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text
