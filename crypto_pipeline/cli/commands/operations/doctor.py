"""``doctor``: whether this machine has what a deployment needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from crypto_pipeline.ops.doctor.requirements import Requirement

_COLORS = {"ok": "green", "note": "yellow", "bad": "red", "unknown": "yellow"}

Offline = Annotated[bool, typer.Option("--offline", help="Ask no venue.")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(doctor)


def doctor(offline: Offline = False, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Say whether this machine has what `up` needs, and what to do where it has not. Nothing is changed.

    Exit code 0: it has, 1: something is bad, 2: a setting is invalid. It looks at Python, packages, memory, disk,
    permissions, ports, the database, the venue and the clock; `check` says how a running deployment is.
    """
    from crypto_pipeline.cli.context import deployment_settings
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.ops.doctor.examination import examine
    from crypto_pipeline.ops.doctor.requirements import exit_code

    settings = deployment_settings(data_dir)
    found: list[Requirement] = []
    for one in examine(settings, offline=offline):
        found.append(one)
        if not as_json:
            _print(one)
    code = exit_code(found)
    if as_json:
        print_json({"requirements": [one.as_dict() for one in found], "exit_code": code})
    else:
        bad = [one.name for one in found if one.status == "bad"]
        typer.echo(f"not ready: {', '.join(bad)}" if bad else "ready: `crypto-pipeline up` starts everything")
    raise typer.Exit(code)


def _print(one: Requirement) -> None:
    from crypto_pipeline.cli.output import console

    out = console()
    out.print(f"[{_COLORS[one.status]}]{one.status:<8}[/]", end="")
    out.print(f"{one.name}: {one.found}", markup=False, highlight=False, soft_wrap=True)
    if one.fix:
        out.print(" " * 8 + one.fix, markup=False, highlight=False, soft_wrap=True)
