"""Restoring a backup into the embedded database of a data directory, or into an empty database on another server."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from crypto_pipeline.ops.backups import backup
from crypto_pipeline.ops.backups.files import ARCHIVE, Backup
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host.paths import Places, UpLock
from crypto_pipeline.settings import Settings, command
from crypto_pipeline.store import EmbeddedServer, Store, dagster_url, ensure_databases, migrate
from crypto_pipeline.store.archive.object_store import base_url, local_path
from crypto_pipeline.store.database import file_locks
from crypto_pipeline.store.database.connect import address, connect, database_name, plain_url
from crypto_pipeline.store.iceberg.listed_files import forget_tables
from crypto_pipeline.store.mirror.catalogue import disown
from crypto_pipeline.store.operations.fingerprints import Fingerprint, analyze, fingerprints, is_empty, move_archive
from crypto_pipeline.store.views.views import VIEWS

Say = Callable[[str], None]
_BUILDING = "restoring"


def restore(settings: Settings, chosen: Backup, say: Say, *, replace: bool = False) -> None:
    """Restore the backup into the database of ``settings``, compare every table with the manifest, then migrate it.

    The embedded database is restored into a separate folder, and moved into place once every table is proven, so a kill
    leaves the existing database as it was. With ``replace``, an existing one is kept as ``postgres.before-<time>``.
    Raises OpsError when a database exists already or ``up`` runs, when the backup is damaged, or when a restored table
    differs from the backed up one.
    """
    backup.verify_files(chosen)  # rows are compared with their hashes after the load
    say(f"the {len(chosen.manifest.files)} files of the backup are intact")
    if settings.database_url is not None:
        url = (settings.database_direct_url or settings.database_url).get_secret_value()
        ensure_databases(url, [database_name(url)])
        _load(settings, chosen, url, say)
        return
    places = Places(settings.data_dir)
    places.make()
    lock = UpLock(places)
    if not lock.take():
        first = command("down", "--data-dir", settings.data_dir)
        raise OpsError(f"`up` runs on {settings.data_dir}: first `{first}`")
    try:
        _rebuild(settings, chosen, say, replace=replace)
    finally:
        lock.release()


def _rebuild(settings: Settings, chosen: Backup, say: Say, *, replace: bool) -> None:
    home, place = settings.data_dir / "postgres", settings.data_dir / _BUILDING
    if (home / "data").exists() and not replace:
        raise OpsError(
            f"there is a database in {settings.data_dir}: give another --data-dir, or --replace, which renames it"
        )
    guard = file_locks.open_lock(settings.data_dir / f"{_BUILDING}.lock")
    try:
        if not file_locks.try_lock(guard):
            raise OpsError(f"another restore is running in {settings.data_dir}: wait for it")
        # A killed restore left these; its server may still be ending, so each restore uses a folder of its own.
        shutil.rmtree(place, ignore_errors=True)
        apart = place / str(time.time_ns())
        apart.mkdir(parents=True)
        with EmbeddedServer(apart).running() as url:
            _load(settings, chosen, url, say)
        if home.exists():
            kept = home.with_name(f"postgres.before-{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}")
            home.rename(kept)
            say(f"the replaced database is kept in {kept}: delete it when you no longer want it")
        (apart / "postgres").rename(home)
        shutil.rmtree(place)
    finally:
        os.close(guard)


def _load(settings: Settings, chosen: Backup, url: str, say: Say) -> None:
    with connect(url) as connection:
        if not is_empty(connection):
            raise OpsError(
                f"database {database_name(url)!r} at {address(url)} is not empty: name a new one in "
                "CRYPTO_PIPELINE_DATABASE_URL; it is created"
            )
        version = connection.info.server_version // 10_000
    for database in chosen.manifest.tables:
        target = url if database == "market" else plain_url(dagster_url(settings, url))
        ensure_databases(target, [database_name(target)])
        with connect(target) as connection:
            if not is_empty(connection):
                say(f"Dagster's storage in {database_name(target)!r} exists already and stays as it is")
                continue
        program = backup.restoring_program(chosen.manifest, version, target)
        backup.load(program, chosen.folder / database, target, version)
        _compare(chosen, database, target)
        say(f"restored {database}: {len(chosen.manifest.tables[database])} tables equal those backed up")
    _make_current(settings, chosen, url, say)


def _compare(chosen: Backup, database: str, url: str) -> None:
    with connect(url) as connection:
        found = fingerprints(connection)
    for table, (rows, content) in chosen.manifest.tables[database].items():
        here = found.pop(table, Fingerprint(0, 0))
        if here != Fingerprint(rows, content):
            raise OpsError(
                f"restored table {table} of {database} has {here.rows:,} rows and differs from the backed up one "
                f"({rows:,}): use another backup"
            )
    if found:
        raise OpsError(f"the restored {database} has tables that were not backed up: {', '.join(found)}")


def _make_current(settings: Settings, chosen: Backup, url: str, say: Say) -> None:
    """Migrate the schema to this version, gather statistics, copy the archive's files back, refresh the views."""
    if applied := migrate(url):
        say(f"schema: {len(applied)} migrations applied")
    with connect(url) as connection:
        _return_archive(settings, chosen, lambda before, after: move_archive(connection, before, after))
        # files of the mirror, and Iceberg tables, belong to the database that was backed up, which may still be in use
        disown(connection)
        forget_tables(connection)
        analyze(connection)
    with Store(url) as store:
        for view in VIEWS:
            store.views.refresh(view)


def _return_archive(settings: Settings, chosen: Backup, move: Callable[[str, str], int]) -> None:
    if not chosen.manifest.archive:
        return
    here = base_url(settings.archive_url or settings.data_dir / "archive")
    target = local_path(here)
    if target is None:
        raise OpsError(f"the backup's archive was a folder, CRYPTO_PIPELINE_ARCHIVE_URL is {here}: name a folder")
    pool: Path = chosen.folder.parent / ARCHIVE
    for path, (_, digest) in chosen.manifest.archive.items():
        backup.copy_once(pool / path, target / path, digest)
    for before in chosen.manifest.archive_urls:
        move(before, here)
