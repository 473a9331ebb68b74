"""``alerts``: open alerts, grouped by cause."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import typer

from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from crypto_pipeline.ops.alerting.groups import AlertGroup


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(alerts)


def alerts(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List open alerts, grouped by cause. Exit code 1 when there are any."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import console, print_json
    from crypto_pipeline.ops.alerting.groups import alert_groups

    with open_store(deployment_settings(data_dir)) as store:
        groups = alert_groups(store)
    if as_json:
        print_json([group.as_dict() for group in groups])
    elif not groups:
        typer.echo("no alert is open")
    else:
        out = console()
        width = min(out.width, 120)
        for group in groups:
            out.print(_text(group, width), markup=False, soft_wrap=True)
    if groups:
        raise typer.Exit(1)


def _text(group: AlertGroup, width: int) -> str:
    first = f"{group.severity.upper():<9} since {group.since:%Y-%m-%d %H:%M}Z  {group.cause}"
    lines = [textwrap.fill(first, width, subsequent_indent=" " * 10)]
    checks: dict[str, list[str]] = {}
    for alert in group.alerts:
        checks.setdefault(alert.source, []).append(alert.timeframe)
    told = "; ".join(f"{source} {', '.join(sorted(filter(None, widths)))}".strip() for source, widths in checks.items())
    count = f"{len(group.alerts)} alerts: " if len(group.alerts) > 1 else ""
    for text in filter(None, (f"{count}{told}", group.fix)):
        lines.append(textwrap.fill(text, width, initial_indent=" " * 10, subsequent_indent=" " * 10))
    return "\n".join(lines)
