"""``mirror``: closed days as files beside the tables."""

from __future__ import annotations

from typing import Annotated

import typer

from crypto_pipeline.cli.command_groups import add_commands
from crypto_pipeline.cli.options import AsJson, DataDir


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    about = "Closed days of bars, features and labels as Parquet files, from which long reads are answered."
    add_commands(app, "mirror", about, status=status, make=make, drop=drop)


def status(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show what is mirrored, what it takes on the disk, and what the next run will make."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.output import print_json, table
    from crypto_pipeline.ops.host.disk_space import size_text
    from crypto_pipeline.ops.housekeeping.mirror import NOT_WANTED, mirror_frame, mirror_url, note_setting, open_mirror

    with open_store(settings := deployment_settings(data_dir)) as store:
        note_setting(store, settings)
        files, due = mirror_frame(store), open_mirror(store, settings).due()
    left = {"files": len(due), "cells": sum(one.cells for one in due), "rows": sum(one.rows for one in due)}
    if as_json:
        url = mirror_url(settings)
        print_json({"mirror": settings.mirror, "url": url, "series": files.to_dicts(), "due": left})
        return
    typer.echo(f"{mirror_url(settings)}: {size_text(int(files['bytes'].sum()))}")
    if not settings.mirror:
        typer.echo(NOT_WANTED)
    shown = [[*row[:4], size_text(row[4]), *row[5:]] for row in files.rows()]
    table("", ["dataset", "series", "files", "rows", "size", "first day", "end"], shown)
    typer.echo(f"due: {left['files']:,} files for {left['cells']:,} new or changed days of instruments")


def make(
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Also where the folder belonged to a database that is no more.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Make all files that are due now."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.ops.housekeeping.mirror import make_mirror

    with open_store(settings := deployment_settings(data_dir)) as store:
        report = make_mirror(
            store, settings, take_over=take_over, whole=True, most_seconds=float("inf"), progress=typer.echo
        )
    figures = report.as_dict()
    typer.echo(f"{figures['files']:,} files with {figures['rows']:,} rows made in {figures['seconds']:.1f} s")


def drop(data_dir: DataDir = None) -> None:
    """Delete the mirror. Nothing is lost: reads go to the tables, and the next run makes it again if it is on."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.ops.housekeeping.mirror import drop_mirror

    with open_store(settings := deployment_settings(data_dir)) as store:
        gone, left = drop_mirror(store, settings)
    typer.echo(f"{gone:,} files deleted")
    if left:
        typer.echo(f"{left:,} more go when the snapshots of Iceberg tables that list them have expired")
