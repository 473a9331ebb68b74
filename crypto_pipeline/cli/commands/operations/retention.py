"""``retention`` and ``archive``: what leaves the tables, the archive's files, and restoring them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.command_groups import add_group
from crypto_pipeline.cli.context import deployment_settings
from crypto_pipeline.cli.option_groups import SpanOptions, with_groups
from crypto_pipeline.cli.options import AsJson, DataDir, Timeframes
from crypto_pipeline.cli.output import say, show_frame

if TYPE_CHECKING:
    from crypto_pipeline.settings import Settings
    from crypto_pipeline.store.archive.catalogue import ArchiveFile

_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
KeepDays = Annotated[int, typer.Option("--keep-days", min=1, help="Days until retention archives it again.")]
FromVenue = Annotated[bool, typer.Option("--from-venue", help="Fetch bars again of files that no backup has.")]
Trades = Annotated[bool, typer.Option("--trades", help="Days of trades instead of bars.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_group(app, "retention", retention, run=run, compact=compact)
    add_group(app, "archive", archive, verify=verify, repair=repair, restore=restore)


def retention(context: typer.Context, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show what the next retention run removes from the tables. `retention run` does it now."""
    if context.invoked_subcommand is not None:
        return
    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.ops.housekeeping.retention import open_retention
    from crypto_pipeline.ops.housekeeping.retention_report import due_frame

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        frame = due_frame(open_retention(store, settings).due())
    if frame.is_empty() and not as_json:
        typer.echo("nothing is due: no row in the tables is older than the settings keep")
        return
    show_frame(frame, as_json, "next retention run")


def run(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Archive and drop what is due, now. A killed run loses nothing; run it again."""
    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.ops.housekeeping.retention import forget_features, forget_scans, open_retention
    from crypto_pipeline.ops.housekeeping.retention_report import retention_frame

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        report = open_retention(store, settings).run(progress=say)
        months = [f"{month:%Y-%m}" for month in forget_features(store, settings)]
        days = [str(day) for day in forget_scans(store, settings)]
    for month in months:
        say(f"features of {month} dropped by the retention policy")
    if days:
        say(f"scans of {len(days)} days dropped by the retention policy, their numbers stay")
    if as_json:
        print_json(report.as_dict() | {"features_dropped": months, "scans_dropped": days})
    elif not report.archived and not report.dropped:
        typer.echo("nothing left the tables")
    else:
        show_frame(retention_frame(report), False, "left the tables")


def compact(data_dir: DataDir = None) -> None:
    """Sort closed months of 1m bars by their key, each month once. Readers and writers continue meanwhile."""
    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.ops.housekeeping.retention import open_retention

    settings = deployment_settings(data_dir)
    with open_store(settings) as store:
        done = open_retention(store, settings).compact(progress=say)
    if not done:
        typer.echo("every closed month is sorted already")


@with_groups
def archive(
    context: typer.Context,
    span: SpanOptions,
    timeframe: Timeframes = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List the archive's files; each replaces the table for its span."""
    if context.invoked_subcommand is not None:
        return
    from crypto_pipeline.ops.housekeeping.retention_report import archive_frame

    frame = archive_frame(_files(deployment_settings(data_dir), timeframe, span, trades=None))
    if frame.is_empty() and not as_json:
        typer.echo("nothing is archived there")
        return
    show_frame(frame, as_json, "archive")


@with_groups
def verify(span: SpanOptions, timeframe: Timeframes = None, data_dir: DataDir = None) -> None:
    """Read every archive file again and compare size, hash and rows with the catalogue."""
    from crypto_pipeline.store import StoreError
    from crypto_pipeline.store.archive import parquet
    from crypto_pipeline.store.archive.object_store import ArchiveStorage

    files = _files(deployment_settings(data_dir), timeframe, span, trades=None)
    damaged = 0
    for file in files:
        try:
            with ArchiveStorage(file.base_url).fetched(file.path) as path:
                parquet.verify(path, file.kind, file.sha256, rows=file.rows)
        except StoreError as error:
            damaged += 1
            typer.echo(str(error), err=True)
    typer.echo(f"{len(files) - damaged} of {len(files)} archive files are intact")
    if damaged:
        raise typer.Exit(1)


@with_groups
def repair(
    span: SpanOptions, timeframe: Timeframes = None, from_venue: FromVenue = False, data_dir: DataDir = None
) -> None:
    """Read every archive file again and repair damaged ones, from backups first. Exit code 1 when one stays damaged."""
    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.ops.housekeeping import archive_repair
    from crypto_pipeline.ops.housekeeping.table_proofs import prove_archive

    settings = deployment_settings(data_dir)
    files = _files(settings, timeframe, span, trades=None)
    with open_store(settings) as store:
        damaged = archive_repair.find_damaged(store, files, say)
        left = archive_repair.repair_from_backups(store, settings, damaged, say)
        missing = 0
        if from_venue:
            done = asyncio.run(archive_repair.repair_from_venue(store, settings, left, say))
            left, missing = done.left, int(done.missing["bars"].sum())
        prove_archive(store, 0, 0)
    typer.echo(f"{len(files)} archive files: {len(damaged)} were damaged, {len(damaged) - len(left)} are repaired")
    if missing:
        typer.echo(f"{missing:,} bars of files that were given up are missing: see `crypto-pipeline gaps`", err=True)
    for file in left:
        advice = "--from-venue fetches its bars again (their earlier versions are lost)"
        if file.kind == "trades":
            advice = "restore a backup that has it, no venue sends these trades again"
        typer.echo(f"no backup has {file.url}: {advice}", err=True)
    if left or missing:
        raise typer.Exit(1)


@with_groups
def restore(
    span: SpanOptions,
    timeframe: Timeframes = None,
    trades: Trades = False,
    keep_days: KeepDays = 7,
    data_dir: DataDir = None,
) -> None:
    """Restore archived months (or days of trades) that overlap the span into the tables, with their history."""
    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.ops.housekeeping.retention import open_retention
    from crypto_pipeline.store.archive import restore as restoring

    if span.start is None or (timeframe is None) != trades:
        raise BadInput("say what to restore: --timeframe 1m --start 2026-01-01 --end 2026-02-01, or --trades --start …")
    settings = deployment_settings(data_dir)
    files = _files(settings, timeframe, span, trades=trades)
    if not files:
        typer.echo("nothing of that span is in the archive; `crypto-pipeline archive` lists what is")
        raise typer.Exit(1)
    spans: dict[Any, list[ArchiveFile]] = {}
    for file in files:
        spans.setdefault((str(file.timeframe), file.first_open), []).append(file)
    with open_store(settings) as store, open_retention(store, settings).exclusive():
        for of_span in spans.values():
            done = restoring.restore(store.connections, of_span, timedelta(days=keep_days))
            counts = ", ".join(f"{count:,} {kind}" for kind, count in done.rows.items())
            typer.echo(f"{done.span}: {counts} restored; archived again in {keep_days} days")


def _files(settings: Settings, timeframe: str | None, span: SpanOptions, trades: bool | None) -> list[ArchiveFile]:
    from crypto_pipeline.cli import options
    from crypto_pipeline.cli.context import open_store

    first, last = span.bounds()
    chosen = options.timeframes(timeframe)
    with open_store(settings) as store:
        found = store.archive.files(None, None, first, last)
    if trades:
        return [file for file in found if file.kind == "trades"]
    if trades is False:
        found = [file for file in found if file.kind != "trades"]
    return [file for file in found if chosen is None or file.timeframe in chosen]
