"""The Iceberg tables of a deployment: where they are, and whether they can be kept here."""

from __future__ import annotations

from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

import polars as pl

from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.iceberg.listed_files import count, pending

if TYPE_CHECKING:
    from crypto_pipeline.lake.iceberg.tables import FollowedTable, IcebergTables

CHECK = "iceberg_tables_follow"
_SCHEMA = {
    "table": pl.String(),
    "files": pl.Int64(),
    "rows": pl.Int64(),
    "added": pl.Int64(),
    "removed": pl.Int64(),
    "waiting_rows": pl.Int64(),
    "metadata": pl.String(),
}


def iceberg_url(settings: Settings) -> str:
    """Folder or URL below which the tables describe themselves."""
    return settings.iceberg_url or str(settings.data_dir / "iceberg")


def is_installed() -> bool:
    """Whether the extra ``iceberg`` is installed here."""
    return find_spec("pyiceberg") is not None


def open_iceberg(store: Store, settings: Settings, *, take_over: bool = False) -> IcebergTables:
    """The Iceberg tables of a store. Raises StoreError where the extra is not installed.

    A folder in the data directory belongs to this deployment, whoever used it before; another one also if this one is
    to ``take_over``.
    """
    if not is_installed():
        raise StoreError("Iceberg tables need an extra: `pip install 'crypto-pipeline[server,iceberg]'`")
    from crypto_pipeline.lake.iceberg.tables import IcebergTables

    take_over |= settings.iceberg_url is None
    return IcebergTables(store.connections, iceberg_url(settings), keep(settings), take_over=take_over)


def keep(settings: Settings) -> timedelta:
    """How long a replaced snapshot stays readable."""
    return timedelta(hours=settings.iceberg_keep_hours)


def to_do(store: Store, settings: Settings) -> int:
    """Number of files that the tables do not list and should, or the other way round. pyiceberg is not needed."""
    return store.connections.run(pending, keep(settings))


def recorded(store: Store) -> int:
    """Number of files that the tables list."""
    return store.connections.run(count)


def tables_frame(tables: list[FollowedTable]) -> pl.DataFrame:
    """One row per table: what it lists, what changed, and the file that describes it."""
    rows = [
        (str(one.name), one.files, one.rows, one.added, one.removed, one.waiting_rows, one.metadata_location)
        for one in tables
    ]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def record_check(store: Store, tables: list[FollowedTable], left: int) -> tuple[bool, str]:
    """Keep the result of the check that tables list what they should; return whether it passed, and its summary.

    ``left`` files are not listed that should be, or the other way round.
    """
    unreadable = [text for one in tables for text in one.unreadable]
    waiting = sum(one.waiting_rows for one in tables)
    files, rows = sum(one.files for one in tables), sum(one.rows for one in tables)
    said = f"{len(tables)} tables list {files:,} files with {rows:,} rows"
    if waiting:
        said += f"; {waiting:,} rows wait until the mirror has made their files again"
    if unreadable:
        said += f"; {len(unreadable)} files cannot be read, the first: {unreadable[0]}"
    elif left:
        said += f"; {left} files changed meanwhile"
    passed = not unreadable
    store.checks.record_result(CHECK, None, passed=passed, severity="warning", summary=said)
    return passed, said
