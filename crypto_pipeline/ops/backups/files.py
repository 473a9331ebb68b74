"""The files of a backup: a folder named after its UTC time, with dumps, and a manifest with hashes, written last.

``<backup_dir>/2026-11-21T03-30-00Z/manifest.json`` beside ``market/`` and ``dagster/`` (pg_dump's directory format);
``<backup_dir>/archive/`` has the archive's files. They never change, and all backups share them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import IO, Any

from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.settings import Settings

FORMAT = 1
MANIFEST = "manifest.json"
ARCHIVE = "archive"
PARTIAL = ".partial"
_PIECE = 1 << 20


def backup_dir(settings: Settings) -> Path:
    """The folder of backups: the setting ``backup_dir``, by default in the data directory."""
    return settings.backup_dir or settings.data_dir / "backups"


def nightly_backup(settings: Settings) -> bool:
    """Whether a backup is made every night. By default only for the embedded server; others usually have their own."""
    return settings.database_url is None if settings.backup_daily is None else settings.backup_daily


@dataclass(frozen=True)
class Manifest:
    """Contents of a backup. ``tables``: database → table → (rows, hash); ``files``: path → (bytes, sha256)."""

    created_at: datetime
    version: str
    server_version: int
    migrations: list[str]
    tables: dict[str, dict[str, tuple[int, int | None]]]
    files: dict[str, tuple[int, str]]
    #: Files of the archive that the catalogue names: path → (bytes, sha256). Empty if the archive is in an object
    #: store.
    archive: dict[str, tuple[int, str]] = field(default_factory=dict)
    #: Folder or URL of the archive in the catalogue.
    archive_urls: list[str] = field(default_factory=list)
    seconds: float = 0.0
    #: Whether all files were read back and all rows counted.
    verified_at: datetime | None = None
    #: Major version of the pg_dump that wrote the dumps; an older pg_restore cannot read them. None: not recorded.
    client_version: int | None = None
    #: Sentences about rows that the database lacked. None: an earlier version made the backup and did not check.
    faults: list[str] | None = None

    @property
    def right(self) -> bool:
        """Whether the backup was read back, and no row was known to be missing when it was made."""
        return self.verified_at is not None and not self.faults

    @property
    def rows(self) -> int:
        """Rows of the market database."""
        return sum(rows for rows, _ in self.tables["market"].values())

    @property
    def bytes(self) -> int:
        """Size of the dumps, without the archive's files, which all backups share."""
        return sum(size for size, _ in self.files.values())

    def write(self, folder: Path) -> None:
        """Write the manifest into ``folder`` atomically."""
        new = folder / f"{MANIFEST}.new"
        new.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1, default=_plain))
        new.replace(folder / MANIFEST)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of the backup in ``folder``. Raises OpsError if there is none or it cannot be read."""
        try:
            found: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
            if (number := found.pop("format")) != FORMAT:
                raise OpsError(f"backup {folder} has format {number}, this version reads {FORMAT}: use a matching one")
            for name in ("created_at", "verified_at"):
                found[name] = datetime.fromisoformat(found[name]) if found[name] else None
            return cls(**found)
        except FileNotFoundError:
            raise OpsError(f"{folder} is no backup (it has no {MANIFEST}): see `crypto-pipeline backup list`") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OpsError(f"cannot read {folder / MANIFEST}: {error}; use another backup") from None


@dataclass(frozen=True)
class Backup:
    """One complete backup."""

    folder: Path
    manifest: Manifest


def new_folder(backup_dir: Path, moment: datetime) -> Path:
    """The folder of a backup made at ``moment`` (UTC); it does not exist yet.

    A second backup of the same second (the clock may have been set back) gets the next free number.
    """
    name = f"{moment.astimezone(UTC):%Y-%m-%dT%H-%M-%SZ}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(backup_dir / one for one in names if not (backup_dir / one).exists())


def complete(backup_dir: Path) -> list[Backup]:
    """Complete backups, oldest first. A backup with an unreadable manifest is not complete."""
    found = []
    for path in backup_dir.glob(f"*/{MANIFEST}"):
        if not path.parent.name.endswith(PARTIAL):
            try:
                found.append(Backup(path.parent, Manifest.read(path.parent)))
            except OpsError:
                continue
    return sorted(found, key=lambda backup: backup.manifest.created_at)


def stored_bytes(backup_dir: Path) -> int:
    """Bytes of all complete backups: their dumps, and each archive file once."""
    done = complete(backup_dir)
    pool = {path: size for one in done for path, (size, _) in one.manifest.archive.items()}
    return sum(one.manifest.bytes for one in done) + sum(pool.values())


def hashed(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file below ``folder`` except the manifest: path → (bytes, sha256)."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): (path.stat().st_size, sha256(path)) for path in files}


def sha256(path: Path) -> str:
    """SHA-256 of one file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copied_rows(stream: IO[bytes]) -> Iterator[tuple[str, int]]:
    """Yield each table with its number of rows from the output of ``pg_restore --data-only``.

    Raises OpsError when the output ends within a table.
    """
    buffer = b""
    table, rows = "", 0
    while piece := stream.read(_PIECE):
        buffer += piece
        while buffer:
            if not table:
                table, buffer, found = _next_copy(buffer)
                rows = 0
                if not found:
                    break
            end = 0 if buffer.startswith(b"\\.\n") else buffer.find(b"\n\\.\n") + 1
            if end or buffer.startswith(b"\\.\n"):
                rows += buffer.count(b"\n", 0, end)
                yield table, rows
                table, buffer = "", buffer[end + 3 :]
                continue
            cut = buffer.rfind(b"\n", 0, max(len(buffer) - 3, 0)) + 1  # two reads may split the end mark
            rows += buffer.count(b"\n", 0, cut)
            buffer = buffer[cut:]
            break
    if table:
        raise OpsError(f"the dump ends within table {table}")


def _next_copy(buffer: bytes) -> tuple[str, bytes, bool]:
    """Find the next COPY block: its table, the bytes after its first line, and whether there was one."""
    at = 0 if buffer.startswith(b"COPY ") else buffer.find(b"\nCOPY ") + 1
    if at == 0 and not buffer.startswith(b"COPY "):
        return "", buffer[-6:], False
    end = buffer.find(b"\n", at)
    if end < 0:
        return "", buffer[at:], False
    return buffer[at:end].split(b" ")[1].decode().replace('"', ""), buffer[end + 1 :], True


def staying(done: list[Backup], keep: int) -> list[Backup]:
    """The backups to keep out of all complete ones (oldest first): the newest ``keep`` good ones.

    A backup of a damaged database never replaces a good one: only the newest damaged backup is kept, and only while no
    good one is newer.
    """
    stay = [backup for backup in done if backup.manifest.right][-keep:]
    return stay if not done or done[-1] in stay else [*stay, done[-1]]


def prune(backup_dir: Path, keep: int) -> list[Path]:
    """Remove backups beyond ``keep``, unfinished folders, and archive files that no kept backup needs.

    Returns the removed folders of complete backups.
    """
    done = complete(backup_dir)
    stay = staying(done, keep)
    gone = [backup.folder for backup in done if backup not in stay] + list(backup_dir.glob(f"*{PARTIAL}"))
    for folder in gone:
        shutil.rmtree(folder)
    needed = {path for backup in stay for path in backup.manifest.archive}
    pool = backup_dir / ARCHIVE
    for path in [path for path in pool.rglob("*") if path.is_file()] if pool.exists() else []:
        if str(path.relative_to(pool)) not in needed:
            path.unlink()
    return gone


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
