"""``storage``: disk use, its growth, the date when the disk is full, and freeing space at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crypto_pipeline.cli.command_groups import add_group
from crypto_pipeline.cli.options import AsJson, DataDir

if TYPE_CHECKING:
    import polars as pl

    from crypto_pipeline.ops.housekeeping.storage_report import StorageReport
    from crypto_pipeline.settings import Settings
    from crypto_pipeline.store import Store


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    add_group(app, "storage", storage, trim=trim, prove=prove)


def storage(
    context: typer.Context,
    queries: Annotated[bool, typer.Option("--queries", help="Also the most expensive SQL statements.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show sizes per table, timeframe and index, growth, days until the disk is full, and what retention will free."""
    if context.invoked_subcommand is not None:
        return
    from crypto_pipeline.cli.context import database, deployment_settings
    from crypto_pipeline.cli.output import print_json
    from crypto_pipeline.ops.housekeeping.storage_report import judge, report
    from crypto_pipeline.store import Store

    settings = deployment_settings(data_dir)
    with database(settings) as url, Store(url) as store:
        found = report(settings, store, url)
    if as_json:
        checks = [
            {"check": one.name, "passed": one.passed, "severity": one.severity, "summary": one.summary}
            for one in judge(settings, found)
        ]
        print_json({**found.as_dict(), "checks": checks})
        return
    _print(found, queries=queries)
    for one in judge(settings, found):
        if not one.passed:
            typer.echo(f"{one.severity}: {one.name}: {one.summary}")


def trim(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False, data_dir: DataDir = None
) -> None:
    """Free disk space now: replaced databases, old backups, all trades except the last two days. Never a bar.

    On a full disk, where the database cannot run, it removes files only.
    """
    from crypto_pipeline.cli.context import deployment_settings
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.cli.output import table
    from crypto_pipeline.ops.host.disk_space import size_text
    from crypto_pipeline.ops.housekeeping.trim import plan
    from crypto_pipeline.ops.housekeeping.trim import trim as act

    settings = deployment_settings(data_dir)
    with _running_store(settings) as store:
        if store is None:
            typer.echo("the database does not run: only files can be removed, trades stay", err=True)
        steps = plan(settings, store)
        if not steps:
            typer.echo("nothing to trim: bars leave by retention only (settings keep_hot_days and keep_days)")
            return
        table("", ["removes", "frees", "what is lost"], [[one.what, size_text(one.bytes), one.lost] for one in steps])
        if not yes:
            if not sys.stdin.isatty():
                raise BadInput("no terminal to ask for confirmation: add --yes to do it")
            typer.confirm("remove all of this?", abort=True)
        typer.echo(f"freed about {size_text(act(steps, typer.echo))}")


@contextmanager
def _running_store(settings: Settings) -> Iterator[Store | None]:
    """The store for the block; None if its database does not run and the disk is too full to start it."""
    from crypto_pipeline.cli.context import open_store
    from crypto_pipeline.ops.host.disk_space import Disk
    from crypto_pipeline.store import Store, StoreError, resolve_url

    disk = Disk(settings.data_dir, settings.disk_reserve_mb)
    try:
        url = resolve_url(settings)
    except StoreError:
        if disk.free < disk.limits.start:
            yield None
        else:
            with open_store(settings) as store:
                yield store
        return
    with Store(url, patience=5.0) as store:
        yield store


def prove(data_dir: DataDir = None) -> None:
    """Count the rows of every table and compare with the kept counts. Exit code 1 when a table lacks rows."""
    from crypto_pipeline.cli.context import deployment_settings, open_store
    from crypto_pipeline.cli.errors import FAILED
    from crypto_pipeline.ops.housekeeping.table_proofs import prove_tables, said

    with open_store(settings := deployment_settings(data_dir)) as store:
        proof = prove_tables(store, settings, rows=sys.maxsize)
    for fault in proof.faults:
        typer.echo(f"fault: {fault}")
    typer.echo(said(proof))
    if proof.faults:
        raise typer.Exit(FAILED)


def _print(found: StorageReport, *, queries: bool) -> None:
    from crypto_pipeline.cli.output import table
    from crypto_pipeline.ops.host.disk_space import size_text

    typer.echo(found.headline())
    cache = "unknown" if found.cache_hit is None else f"{found.cache_hit:.1%}"
    dagster = size_text(int(found.dagster["bytes"].sum() or 0))
    typer.echo(
        f"cache hit {cache}, Dagster's storage {dagster}, backups {size_text(found.backups_bytes)}, "
        f"the next retention run frees about {size_text(found.freed_bytes)}"
    )
    rate = {row["name"]: row["bytes_per_day"] for row in found.growth.iter_rows(named=True)}
    rows = [_table_row(row, rate) for row in found.tables.iter_rows(named=True) if row["bytes"] >= 1_000_000]
    head = ["table", "timeframe", "rows", "size", "indexes", "bloat", "a day", "cache hit", "analyzed"]
    table("", head, rows or [_table_row(row, rate) for row in found.tables.head(5).iter_rows(named=True)])
    _small("largest indexes", found.indexes.head(5), ["index", "parts", "bytes", "scans"])
    _small("archive", found.archive, ["kind", "timeframe", "files", "rows", "bytes", "first", "end"])
    _small("mirror", found.mirror, ["dataset", "series", "files", "rows", "bytes", "first", "end"])
    _small("next retention run", found.freed, ["timeframe", "spans", "rows", "bytes"])
    ahead = ", ".join(f"{name} {count}" for name, count in found.partitions_ahead.items())
    typer.echo(f"partitions ahead: {ahead}")
    if queries and found.slow_queries is None:
        typer.echo("slow queries: this server does not keep them (pg_stat_statements is not preloaded or not created)")
    elif queries and found.slow_queries is not None:
        shown = [
            [row["calls"], round(row["mean_ms"], 2), round(row["total_s"], 2), row["query"][:100]]
            for row in found.slow_queries.iter_rows(named=True)
        ]
        table("\nstatements that cost most", ["calls", "mean ms", "total s", "statement"], shown)


def _table_row(row: dict[str, Any], rate: dict[str, float]) -> list[Any]:
    from crypto_pipeline.ops.host.disk_space import size_text

    grows = rate.get(f"{row['table']} {row['timeframe']}".strip())
    return [
        row["table"],
        row["timeframe"],
        row["rows"],
        size_text(row["bytes"]),
        size_text(row["index_bytes"]),
        "–" if row["bloat_bytes"] is None else size_text(row["bloat_bytes"]),
        "–" if grows is None else size_text(grows),
        "–" if row["cache_hit"] is None else f"{row['cache_hit']:.1%}",
        row["analyzed_at"],
    ]


def _small(title: str, frame: pl.DataFrame, columns: list[str]) -> None:
    from crypto_pipeline.cli.output import table
    from crypto_pipeline.ops.host.disk_space import size_text

    if frame.is_empty():
        return
    rows = [
        [size_text(value) if name == "bytes" else value for name, value in zip(columns, row, strict=True)]
        for row in frame.select(columns).iter_rows()
    ]
    table(f"\n{title}", columns, rows)
