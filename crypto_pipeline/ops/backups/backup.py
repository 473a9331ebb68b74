"""Backups while the deployment runs: a dump of one snapshot, read back before it counts as complete.

We use a dump and not a base backup. A base backup needs a higher ``wal_level``, which makes every bulk load and every
refresh of a view slower. A dump can also be restored on another major version and on a server that is not embedded.
PostgreSQL does not prove that a dump is complete, so we count and hash every table in the same snapshot; a restored
copy is compared with these figures.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from crypto_pipeline.healing.plan import retention_policy
from crypto_pipeline.ops.backups import files as backup_files
from crypto_pipeline.ops.backups.files import ARCHIVE, PARTIAL, Backup, Manifest, backup_dir
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import dagster_url
from crypto_pipeline.store.archive.catalogue import ArchiveFile
from crypto_pipeline.store.archive.object_store import local_path
from crypto_pipeline.store.database import file_locks
from crypto_pipeline.store.database.connect import MissingDatabaseError, demands_tls, plain_url
from crypto_pipeline.store.database.sessions.pooler import direct_url
from crypto_pipeline.store.embedded.binaries import ServerProgram, client_program, client_programs
from crypto_pipeline.store.operations.fingerprints import Fingerprint, frozen

Say = Callable[[str], None]
DATABASES = ("market", "dagster")
#: A dump takes at most this share of the stored bytes. With less free space, nothing is written.
_SHARE = 0.4


def make(settings: Settings, url: str, stored_bytes: int, say: Say) -> Backup:
    """Back up the database at ``url`` and Dagster's, read the result back, remove the oldest backups.

    ``stored_bytes`` is the size of the database. Raises OpsError when there is too little free space, when another
    backup is running, or when the written rows differ from the tables. A kill at any moment leaves no folder that is
    taken for a complete backup.
    """
    target = backup_dir(settings)
    with _alone(target):
        _require_room(target, stored_bytes)
        started = datetime.now(UTC)
        folder = backup_files.new_folder(target, started)
        partial = folder.with_name(folder.name + PARTIAL)
        # The lock excludes other backups, so a folder of this name was left by a killed one.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            manifest = _dump_all(settings, url, partial, started, say)
            verify(Backup(partial, manifest), say)
            Manifest(**{**manifest.__dict__, "verified_at": datetime.now(UTC)}).write(partial)
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        for gone in backup_files.prune(target, settings.backup_keep):
            say(f"removed {gone.name}: the newest {settings.backup_keep} are kept")
        made = Backup(folder, Manifest.read(folder))
        for fault in made.manifest.faults or []:
            say(f"the database is damaged: {fault}")
        return made


def damage(made: Backup, target: Path) -> str | None:
    """What the database lacked at the time of the backup, and which backup is good; None if it lacked nothing."""
    if not made.manifest.faults:
        return None
    right = [one.folder.name for one in backup_files.complete(target) if one.manifest.right]
    back = f"the last good backup is {right[-1]}, and is kept" if right else "there is no good backup"
    more = f" and {len(made.manifest.faults) - 1} more faults" if len(made.manifest.faults) > 1 else ""
    return f"{made.manifest.faults[0]}{more}; this backup contains the damaged database, {back}"


def first_day_of_trades(settings: Settings, now: datetime) -> date:
    """The first day (UTC) whose trades must be in the table."""
    first = retention_policy(settings).hot_start(None, now)
    assert first is not None, "trades are always kept for some days only"
    return first.date()


def verify(backup: Backup, say: Say) -> None:
    """Compare every file's hash and every table's rows (by pg_restore). Raises OpsError for the first difference."""
    manifest, folder = backup.manifest, backup.folder
    verify_files(backup)
    for database, tables in manifest.tables.items():
        found = _rows_inside(folder / database, restoring_program(manifest).path)
        for table, (rows, _) in tables.items():
            if found.get(table, 0) != rows:
                raise OpsError(
                    f"backup {folder.name}: table {table} of {database} has {found.get(table, 0):,} rows, "
                    f"not {rows:,}: use another backup"
                )
    say(f"read back: {manifest.rows:,} rows in {len(manifest.tables['market'])} tables")


def verify_files(backup: Backup) -> None:
    """Compare size and hash of every file with the manifest. Raises OpsError that names the first bad file."""
    manifest, folder = backup.manifest, backup.folder
    for kind, base, files in (
        ("", folder, manifest.files),
        ("archive file ", folder.parent / ARCHIVE, manifest.archive),
    ):
        for name, (_, digest) in files.items():
            path = base / name
            if not path.exists():
                raise OpsError(f"backup {folder.name} lacks its {kind or 'file '}{name}: use another backup")
            if backup_files.sha256(path) != digest:
                raise OpsError(f"backup {folder.name}: {kind}{name} differs from what was written: use another backup")


def _dump_all(settings: Settings, url: str, partial: Path, started: datetime, say: Say) -> Manifest:
    clock = time.monotonic()
    tables, migrations, archive, faults, server, client = {}, [], [], [], 0, 0
    for database in DATABASES:
        address = direct_url(url) if database == "market" else plain_url(dagster_url(settings, url))
        try:
            with frozen(address) as moment:
                program = client_program("pg_dump", moment.server_version, tls=demands_tls(address))
                server, client = max(server, moment.server_version), max(client, program.version)
                with _dumping(program.path, address, moment.snapshot, partial / database):
                    tables[database] = _pairs(moment.fingerprints())
                    if database == "market":
                        faults = moment.faults(started, first_day_of_trades(settings, started))
                if database == "market":
                    migrations, archive = moment.migrations(), moment.archive()
        except MissingDatabaseError:
            if database == "market":
                raise
            continue  # Dagster has never run here
        say(f"dumped {database}: {sum(rows for rows, _ in tables[database].values()):,} rows")
    copied, damaged = _copy_archive(archive, partial.parent / ARCHIVE)
    return Manifest(
        created_at=started,
        version=version("crypto-pipeline"),
        server_version=server,
        client_version=client,
        migrations=migrations,
        tables=tables,
        files=backup_files.hashed(partial),
        archive=copied,
        archive_urls=sorted({file.base_url for file in archive if local_path(file.base_url) is not None}),
        seconds=round(time.monotonic() - clock, 3),
        faults=[*faults, *damaged],
    )


def _pairs(found: Mapping[str, Fingerprint]) -> dict[str, tuple[int, int | None]]:
    return {name: (one.rows, one.hash) for name, one in found.items()}


@contextmanager
def _dumping(program: str, url: str, snapshot: str, target: Path) -> Iterator[None]:
    """Run pg_dump during the block; the exit waits for its end. Raises OpsError when pg_dump fails."""
    options = ["--format=directory", f"--file={target}", f"--jobs={jobs()}", "--compress=1"]
    options += [f"--snapshot={snapshot}", "--no-owner", "--no-privileges"]
    if target.name == "market":
        # Extensions of the server's owner (pg_stat_statements) need rights that the restoring user may lack.
        options.append("--extension=btree_gist")
    with _program([program, *options], url) as process:
        yield
        _end(process, "pg_dump")


def restoring_program(manifest: Manifest, server_version: int = 0, url: str = "") -> ServerProgram:
    """The pg_restore that can read the backup's dumps and connect to ``url``, of major version ``server_version``."""
    written_by = manifest.client_version
    if written_by is None:  # an earlier version used any pg_dump it found: the newest pg_restore reads all of them
        written_by = max((one.version for one in client_programs("pg_restore")), default=manifest.server_version)
    return client_program("pg_restore", max(written_by, server_version), tls=demands_tls(url))


def _rows_inside(dump: Path, program: str) -> dict[str, int]:
    """Number of rows of each table in a dump, as pg_restore reads them; several tables are read in parallel."""
    with subprocess.Popen([program, "--list", str(dump)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        entries = [line for line in process.stdout.read().decode().splitlines() if " TABLE DATA " in line]
        _end(process, "pg_restore")
    sizes = {path.name.partition(".")[0]: path.stat().st_size for path in dump.iterdir()}
    entries.sort(key=lambda entry: -sizes.get(entry.partition(";")[0], 0))
    parts: list[tuple[int, list[str]]] = [(0, []) for _ in range(jobs())]
    for entry in entries:
        parts.sort(key=lambda part: part[0])
        parts[0] = (parts[0][0] + sizes.get(entry.partition(";")[0], 0), [*parts[0][1], entry])
    with ThreadPoolExecutor(jobs()) as pool:
        counted = pool.map(lambda part: _rows_of(program, dump, part[1]), parts)
        return {table: rows for found in counted for table, rows in found.items()}


def _rows_of(program: str, dump: Path, entries: list[str]) -> dict[str, int]:
    if not entries:
        return {}
    with tempfile.NamedTemporaryFile("w", suffix=".list") as chosen:
        chosen.write("\n".join(entries))
        chosen.flush()
        command = [program, "--data-only", f"--use-list={chosen.name}", "--file=-", str(dump)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            found = dict(backup_files.copied_rows(process.stdout))
            _end(process, "pg_restore")
    return found


def jobs() -> int:
    """How many tables are read or written in parallel."""
    return max(1, min(4, os.cpu_count() or 1))


@contextmanager
def _program(command: list[str], url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client program on the database. Its password is in the environment, which process lists do not show."""
    parts = urlsplit(plain_url(url))
    environment = {**os.environ, "PGOPTIONS": "-c idle_in_transaction_session_timeout=0"}
    if parts.password is not None:
        environment["PGPASSWORD"] = unquote(parts.password)
        user, _, host = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=f"{user.partition(':')[0]}@{host}")
    process = subprocess.Popen(
        [*command, f"--dbname={urlunsplit(parts)}"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def load(program: ServerProgram, dump: Path, url: str, server_version: int) -> None:
    """Load a dump into an empty database. The caller compares the rows with the manifest afterwards.

    Since version 17 pg_restore first sends a setting that older servers do not know (``transaction_timeout``). For
    these servers pg_restore runs without ``--exit-on-error``; this function ends it at the first other error. Raises
    OpsError with pg_restore's message.
    """
    forgiving = program.version >= 17 > server_version
    options = [f"--jobs={jobs()}", "--no-owner", "--no-privileges", *([] if forgiving else ["--exit-on-error"])]
    with _program([program.path, *options, str(dump)], url) as process:
        if not forgiving:
            _end(process, "pg_restore")
            return
        assert process.stderr is not None
        said = (line.decode(errors="replace").strip() for line in process.stderr)
        for line in said:
            if "error:" in line and _UNKNOWN_SETTING not in line:
                raise OpsError(f"pg_restore failed: {line}")
        if process.wait() not in (0, 1):  # 1: pg_restore counts the ignored line as an error
            raise OpsError(f"pg_restore ended with {process.returncode}: restore again")


#: The error of a server older than 17 about the first line that a newer pg_restore sends.
_UNKNOWN_SETTING = 'unrecognized configuration parameter "transaction_timeout"'


def _end(process: subprocess.Popen[bytes], name: str) -> None:
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace").strip().splitlines()
    if process.wait() != 0:
        reason = next((line for line in said if "error:" in line), said[-1] if said else "it gave no reason")
        raise OpsError(f"{name} failed: {reason}")


def _copy_archive(files: list[ArchiveFile], pool: Path) -> tuple[dict[str, tuple[int, str]], list[str]]:
    """Copy the archive's local files into the backup; files in an object store stay there.

    Returns the copied files (name → bytes, sha256) and one sentence for each file that could not be copied: a damaged
    file does not stop the backup.
    """
    taken: dict[str, tuple[int, str]] = {}
    damaged: list[str] = []
    for file in files:
        source = local_path(file.url)
        if source is None:
            continue
        try:
            copy_once(source, pool / file.path, file.sha256)
        except OpsError as error:
            damaged.append(str(error))
            continue
        taken[file.path] = (file.bytes, file.sha256)
    return taken, damaged


def copy_once(source: Path, target: Path, sha256: str) -> None:
    """Copy an unchanging file, unless ``target`` has it already. Raises OpsError if the hash is not ``sha256``."""
    if target.exists() and backup_files.sha256(target) == sha256:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(target.name + ".new")
    try:
        shutil.copyfile(source, new)
    except FileNotFoundError:
        raise OpsError(f"archive file {source} is missing: `crypto-pipeline archive repair` restores it") from None
    if backup_files.sha256(new) != sha256:
        new.unlink()
        raise OpsError(
            f"archive file {source} differs from the catalogue: `crypto-pipeline archive repair` restores it"
        )
    new.replace(target)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = file_locks.open_lock(target / "backup.lock")
    except OSError as error:
        raise OpsError(
            f"cannot write to the backup folder {target}: {error.strerror}; set CRYPTO_PIPELINE_BACKUP_DIR"
        ) from None
    try:
        if not file_locks.try_lock(descriptor):
            raise OpsError(f"another backup is being written to {target}: wait for it")
        yield
    finally:
        os.close(descriptor)


def _require_room(target: Path, stored_bytes: int) -> None:
    free = shutil.disk_usage(target).free
    needed = int(stored_bytes * _SHARE)
    if free < needed:
        raise OpsError(
            f"{target} has {free / 1e9:,.1f} GB free, a backup may need {needed / 1e9:,.1f}: free some space, "
            "keep fewer (CRYPTO_PIPELINE_BACKUP_KEEP) or set CRYPTO_PIPELINE_BACKUP_DIR"
        )
