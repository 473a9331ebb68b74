"""``backup`` and ``restore``: verified copies of all stored data, and restoring them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.command_groups import add_group
from crypto_pipeline.cli.errors import FAILED
from crypto_pipeline.cli.options import AsJson, DataDir
from crypto_pipeline.cli.output import say

if TYPE_CHECKING:
    from crypto_pipeline.ops.backups.files import Backup
    from crypto_pipeline.settings import Settings

Which = Annotated[
    str,
    typer.Argument(metavar="[NAME]", help="A name of `backup list`, a folder, or latest (the newest good one)."),
]

Folder = Annotated[Path | None, typer.Option("--to", help="Folder of backups. Default: setting backup_dir.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_group(app, "backup", backup, list=list_, verify=verify)
    app.command()(restore)


def backup(
    context: typer.Context,
    to: Folder = None,
    data_dir: DataDir = None,
) -> None:
    """Back up the database while everything runs, and read it back. Keeps the newest (setting backup_keep)."""
    if context.invoked_subcommand is not None:
        return
    from crypto_pipeline.cli.context import database
    from crypto_pipeline.ops.backups import backup as room
    from crypto_pipeline.ops.backups.files import backup_dir
    from crypto_pipeline.store import Store

    settings = _settings(data_dir, to)
    with database(settings) as url, Store(url) as store:
        made = room.make(settings, url, store.size_bytes(), say)
    manifest = made.manifest
    typer.echo(
        f"{made.folder}: {manifest.rows:,} rows, {manifest.bytes / 1e6:,.1f} MB, "
        f"{len(manifest.archive)} archive files, {manifest.seconds:.1f} s"
    )
    if said := room.damage(made, backup_dir(settings)):
        typer.echo(f"error: {said}", err=True)
        raise typer.Exit(FAILED)


def list_(
    to: Folder = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List complete backups, oldest first."""
    from crypto_pipeline.cli.output import print_json, table
    from crypto_pipeline.ops.backups import files
    from crypto_pipeline.ops.backups.files import backup_dir

    found = [summary(one) for one in files.complete(backup_dir(_settings(data_dir, to)))]
    if as_json:
        print_json(found)
        return
    columns = ["name", "created_at", "rows", "bytes", "archive_files", "seconds", "verified_at", "right", "schema"]
    table("", columns, [[row[column] for column in columns] for row in found])


def summary(one: Backup) -> dict[str, Any]:
    """One backup as a row: name, times, sizes, and whether it is good."""
    manifest = one.manifest
    return {
        "name": one.folder.name,
        "folder": str(one.folder),
        "created_at": manifest.created_at,
        "rows": manifest.rows,
        "bytes": manifest.bytes,
        "archive_files": len(manifest.archive),
        "seconds": manifest.seconds,
        "verified_at": manifest.verified_at,
        "right": manifest.right,
        "faults": manifest.faults or [],
        "schema": manifest.migrations[-1] if manifest.migrations else None,
    }


def verify(
    name: Which = "latest",
    to: Folder = None,
    data_dir: DataDir = None,
) -> None:
    """Read a backup back and compare every file's hash and every table's rows."""
    from crypto_pipeline.ops.backups import backup as room
    from crypto_pipeline.ops.backups.files import backup_dir

    chosen = find(_settings(data_dir, to), name)
    room.verify(chosen, say)
    typer.echo(f"{chosen.folder.name} is intact")
    if said := room.damage(chosen, backup_dir(_settings(data_dir, to))):
        typer.echo(f"error: {said}", err=True)
        raise typer.Exit(FAILED)


def restore(
    name: Which = "latest",
    to: Annotated[Path | None, typer.Option("--from", help="Folder of backups. Default: setting backup_dir.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the existing database, which is renamed and kept.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Restore a backup into an empty data directory or an empty database of yours, and compare every table.

    For example: crypto-pipeline restore /backups/2026-11-21T03-30-00Z --data-dir ~/restored
    """
    from crypto_pipeline.ops.backups.restore import restore as bring_back
    from crypto_pipeline.settings import command

    settings = _settings(data_dir, to)
    chosen = find(settings, name)
    for fault in chosen.manifest.faults or []:
        say(f"this backup is of a damaged database: {fault}")
    bring_back(settings, chosen, say, replace=replace)
    typer.echo(f"restored {chosen.folder.name}: start it with `{command('up', '--data-dir', settings.data_dir)}`")


def find(settings: Settings, name: str) -> Backup:
    """The backup called ``name``: a name, a folder, or ``latest``. Raises BadInput that lists the existing ones."""
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.ops.backups import files
    from crypto_pipeline.ops.backups.files import Backup, Manifest, backup_dir

    if Path(name).is_dir():
        return Backup(Path(name).absolute(), Manifest.read(Path(name)))
    folder = backup_dir(settings)
    found = files.complete(folder)
    if not found:
        raise BadInput(f"no backup in {folder}: make one with `crypto-pipeline backup`, or name its folder")
    names = {one.folder.name: one for one in found}
    if name == "latest":
        return next((one for one in reversed(found) if one.manifest.right), found[-1])
    if name not in names:
        raise BadInput(f"no backup {name!r} in {folder}: there are {', '.join(names)}")
    return names[name]


def _settings(data_dir: Path | None, to: Path | None) -> Settings:
    from crypto_pipeline.cli.context import deployment_settings

    return deployment_settings(data_dir, backup_dir=to)
