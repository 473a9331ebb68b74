"""Where the deployment lives: the data directory, the disk below it, the user, and the database."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from crypto_pipeline.ops.doctor.requirements import Requirement
from crypto_pipeline.ops.host.disk_space import DiskLimits, reserved, size_text
from crypto_pipeline.settings import PREFIX, Settings
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.embedded import run_as
from crypto_pipeline.store.embedded.binaries import find_binaries

#: Free bytes with which the first months fit: the database of 90 instruments and 180 days has 8 GB.
GOOD_DISK = 20_000_000_000


def data_directory(settings: Settings) -> Requirement:
    """Whether the user may write below ``data_dir``, and whether the file system has locks."""
    folder = settings.data_dir
    existing = _existing(folder)
    found = str(folder) if existing == folder else f"{folder} (to be made)"
    elsewhere = f"Give the user write access, or name another folder with --data-dir or {PREFIX}DATA_DIR."
    if not existing.is_dir():
        return Requirement("data directory", "bad", f"{existing} is no folder", elsewhere)
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError:
        return Requirement("data directory", "bad", f"{existing} may not be written", elsewhere)
    except OSError as error:
        return Requirement(
            "data directory", "bad", f"{existing}: {error.strerror}", "Use a local file system with locks and room."
        )
    return Requirement("data directory", "ok", found)


def disk(settings: Settings) -> Requirement:
    """Free space for the first start and the months after it."""
    existing = _existing(settings.data_dir)
    usage = shutil.disk_usage(existing)
    limits = DiskLimits.of(usage.total, settings.disk_reserve_mb)
    free = usage.free + reserved(settings.data_dir)
    found = f"{size_text(free)} of {size_text(usage.total)} are free"
    if free < limits.start:
        return Requirement(
            "disk", "bad", found, f"Free {size_text(limits.start - free)} or more: `up` waits until there is room."
        )
    if free < GOOD_DISK:
        return Requirement(
            "disk",
            "note",
            found,
            f"Enough for few instruments; {size_text(GOOD_DISK)} hold 90 of them for half a year.",
        )
    return Requirement("disk", "ok", found)


def database_programs(settings: Settings) -> Requirement:
    """The embedded PostgreSQL: its programs, and a user as whom they may run (they refuse root)."""
    folder = settings.data_dir / "postgres"
    made_by = folder / "data" / "PG_VERSION"
    try:
        binaries = find_binaries(int(made_by.read_text()) if made_by.exists() else None)
        chosen = run_as.choose(folder / "data" if made_by.exists() else folder, binaries.folder / "postgres")
    except (StoreError, OSError) as error:
        return Requirement("database", "bad", "the embedded PostgreSQL cannot run", f"{error}.")
    as_whom = ""
    if os.geteuid() == 0:
        as_whom = f", run as user {chosen.uid}" if chosen.uid is not None else ", run in a namespace without root"
    return Requirement("database", "ok", f"PostgreSQL {binaries.version} of {binaries.folder}{as_whom}")


def own_database(settings: Settings) -> Requirement:
    """The PostgreSQL of ``database_url``: whether it answers, its version, and what its user may do there."""
    from crypto_pipeline.store.database.connect import address, redact
    from crypto_pipeline.store.database.sessions.rights import missing_rights, server_facts
    from crypto_pipeline.store.database_url import dagster_url, resolve_url

    assert settings.database_url is not None
    given = settings.database_url.get_secret_value()
    try:
        url = resolve_url(settings)
        facts = server_facts(url)
        missing = missing_rights(url, dagster_url(settings, url))
    except StoreError as error:
        return Requirement("database", "bad", redact(given), f"{error}.")
    found = f"PostgreSQL {facts.version} at {address(url)}, {facts.encoding}, {facts.max_connections} connections"
    if missing:
        return Requirement("database", "bad", found, " ".join(missing))
    if facts.encoding != "UTF8":
        return Requirement("database", "bad", found, "Create the database with ENCODING 'UTF8' TEMPLATE template0.")
    if facts.max_connections < 60:
        return Requirement("database", "note", found, "Set max_connections to 100 or more, or use pgbouncer.")
    return Requirement("database", "ok", found)


def read_replica(settings: Settings) -> Requirement:
    """The replica of ``database_read_url``: whether it is one of the primary, answers, and how far it is behind."""
    from crypto_pipeline.store.coordination.replica_facts import replica_facts
    from crypto_pipeline.store.database_url import resolve_url

    assert settings.database_read_url is not None
    try:
        facts = replica_facts(resolve_url(settings), settings.database_read_url.get_secret_value())
    except StoreError:
        return Requirement("replica", "unknown", "the primary server does not answer")
    if facts.trouble is not None:
        found = f"{facts.address}: {facts.trouble}"
        if facts.is_replica:
            return Requirement("replica", "note", found, "Start it; until then the primary takes all reads.")
        return Requirement("replica", "bad", found, f"Let {PREFIX}DATABASE_READ_URL lead to a replica, or remove it.")
    if facts.lag is None or facts.lag > settings.database_read_lag:
        behind = "an unknown time" if facts.lag is None else f"{facts.lag:.0f} s"
        return Requirement(
            "replica", "note", f"{facts.address} is {behind} behind", "See `replica` in docs/runbook.md."
        )
    return Requirement("replica", "ok", f"{facts.address}, {facts.lag:.1f} s behind")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
