"""``check``: the state of every named check of the system."""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crypto_pipeline.ops.checks.states import CheckState

_COLORS = {"ok": "green", "bad": "red", "unknown": "yellow"}


Category = Annotated[
    str | None,
    typer.Option(
        help="Only of this category: data_pipeline, strategies, models, risk, error_recovery, edge_cases, load."
    ),
]
Morning = Annotated[bool, typer.Option("--morning", help="What the night left: bars, backup, proofs.")]
Afternoon = Annotated[bool, typer.Option("--afternoon", help="What works now: live bars, venues, queue.")]
Evening = Annotated[bool, typer.Option("--evening", help="What must last through the night: disk, programs.")]
Fix = Annotated[bool, typer.Option("--fix", help="Run the safe remedies of the checks that are bad.")]
Every = Annotated[bool, typer.Option("--all", help="Also list the checks that are ok.")]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(check)


def check(
    category: Category = None,
    morning: Morning = False,
    afternoon: Afternoon = False,
    evening: Evening = False,
    fix: Fix = False,
    every: Every = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Say how every check of the system stands. Exit code 0: all are ok, 1: one is bad, 2: none is bad, one unknown."""
    from crypto_pipeline.cli.context import deployment_settings
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.ops.checks.report import exit_code, look, of_category
    from crypto_pipeline.ops.checks.routines import ROUTINES

    settings = deployment_settings(data_dir)
    given = {"morning": morning, "afternoon": afternoon, "evening": evening}
    routines = [routine for routine in ROUTINES if given[routine]]

    def chosen() -> list[CheckState]:
        states = of_category(look(settings), category)
        return [one for one in states if not routines or any(one.name in ROUTINES[name] for name in routines)]

    states = chosen()
    repairs: list[dict[str, str]] = []
    if fix:
        from crypto_pipeline.ops.checks.remedies import repair

        repairs = [one.as_dict() for one in repair(settings, states)]
        if repairs:
            states = chosen()
    if as_json:
        print_json({"checks": [one.as_dict() for one in states], "repairs": repairs, "exit_code": exit_code(states)})
    else:
        _print(states, repairs, every)
    raise typer.Exit(exit_code(states))


def _print(states: Sequence[CheckState], repairs: Sequence[dict[str, str]], every: bool) -> None:
    from crypto_pipeline.cli.output import console

    out = console()
    width = min(out.width, 140)
    for one in repairs:
        out.print(f"{one['check']}: {one['done']}", markup=False, soft_wrap=True)
    shown = [state for state in states if every or state.status != "ok"]
    for (name, status, _, _), same in groupby(shown, lambda one: (one.name, one.status, one.severity, one.summary)):
        alike = list(same)
        label = f"{name} {', '.join(one.subject for one in alike)}".rstrip()
        out.print(f"[{_COLORS[status]}]{status:<8}[/]", end="")
        out.print(_text(alike[0], label, width), markup=False, highlight=False, soft_wrap=True)
    counts = {status: sum(one.status == status for one in states) for status in _COLORS}
    out.print(", ".join(f"{number} {status}" for status, number in counts.items()), highlight=False)


def _text(state: CheckState, label: str, width: int) -> str:
    since = f" since {state.since:%Y-%m-%d %H:%M}Z" if state.since is not None and state.status != "ok" else ""
    severity = f" ({state.severity})" if state.status == "bad" else ""
    lines = [textwrap.fill(f"{label}{severity}{since}: {state.summary}", width - 8, subsequent_indent=" " * 8)]
    if state.status != "ok":
        figure = "" if state.figure is None else f"{state.figure:g} {state.unit}".rstrip()
        limit = f"threshold {state.threshold}" if state.threshold else ""
        lines.append(" " * 8 + "; ".join(filter(None, (figure, limit, state.runbook))))
    return "\n".join(lines)
