"""Commands that stand under one word."""

from __future__ import annotations

from collections.abc import Callable

import typer

Command = Callable[..., None]


def add_commands(app: typer.Typer, name: str, about: str, **commands: Command) -> None:
    """Add ``commands`` by their words under ``name``, which alone shows its help with ``about``."""
    group = typer.Typer(help=about, no_args_is_help=True)
    for word, command in commands.items():
        group.command(word)(command)
    app.add_typer(group, name=name)


def add_group(app: typer.Typer, name: str, alone: Command, **commands: Command) -> None:
    """Add the group ``name``: ``alone`` runs for the name without a further word, ``commands`` by their own words."""
    group = typer.Typer(invoke_without_command=True)
    group.callback()(alone)
    for word, command in commands.items():
        group.command(word)(command)
    app.add_typer(group, name=name)
