"""``iceberg``: the Iceberg tables of mirror and archive, for other engines."""

from __future__ import annotations

from typing import Annotated

import typer

from crypto_pipeline.cli.command_groups import add_group
from crypto_pipeline.cli.context import deployment_settings
from crypto_pipeline.cli.options import AsJson, DataDir
from crypto_pipeline.cli.output import say, show_frame

TakeOver = Annotated[
    bool, typer.Option("--take-over", help="Also where the folder belonged to a database that is no more.")
]
Password = Annotated[bool, typer.Option("--password", help="Print the password as well.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_group(app, "iceberg", iceberg, follow=follow, drop=drop, uri=uri)


def iceberg(context: typer.Context, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List the Iceberg tables of mirror and archive, with the file by which other engines open each."""
    if context.invoked_subcommand is not None:
        return
    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.ops.housekeeping.iceberg import open_iceberg, tables_frame

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        frame = tables_frame(open_iceberg(store, settings).state()).drop("added", "removed", "waiting_rows")
    if frame.is_empty() and not as_json:
        typer.echo("there are no Iceberg tables yet: `crypto-pipeline iceberg follow` makes them")
        return
    show_frame(frame, as_json, "Iceberg tables")


def follow(as_json: AsJson = False, take_over: TakeOver = False, data_dir: DataDir = None) -> None:
    """Let the tables list the files that mirror and archive have now. Exit code 1 when a file cannot be listed."""
    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.ops.housekeeping import iceberg

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        done = iceberg.open_iceberg(store, settings, take_over=take_over).follow(progress=say)
        passed, summary = iceberg.record_check(store, done, iceberg.to_do(store, settings))
    for one in done:
        for text in one.unreadable:
            typer.echo(text, err=True)
    if as_json:
        show_frame(iceberg.tables_frame(done), True, "Iceberg tables")
    else:
        typer.echo(summary)
    if not passed:
        raise typer.Exit(1)


def drop(data_dir: DataDir = None) -> None:
    """Drop all Iceberg tables. The files of mirror and archive stay, and `iceberg follow` makes the tables again."""
    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.ops.housekeeping.iceberg import open_iceberg

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        names = open_iceberg(store, settings).drop()
    typer.echo(f"dropped {', '.join(map(str, names))}" if names else "there were no Iceberg tables")


def uri(password: Password = False, data_dir: DataDir = None) -> None:
    """Print the URI of the catalogue `lake`, for pyiceberg and what is configured like it."""
    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.ops.housekeeping.iceberg import open_iceberg

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        typer.echo(open_iceberg(store, settings).uri(with_password=password))
