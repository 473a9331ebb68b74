"""What a backup is on disk: a folder named by its moment, with dumps, and a manifest with hashes that is written last.

``<backup_dir>/2026-11-21T03-30-00Z/manifest.json`` beside ``market/`` and ``dagster/`` (pg_dump's directory format);
``<backup_dir>/archive/`` has the archive's files, which never change and are shared by all backups.
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

FORMAT = 1
MANIFEST = "manifest.json"
ARCHIVE = "archive"
PARTIAL = ".partial"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """What a backup holds. ``tables``: name → (rows, hash) per database; ``files``: path → (bytes, sha256)."""

    created_at: datetime
    version: str
    server_version: int
    migrations: list[str]
    tables: dict[str, dict[str, tuple[int, int | None]]]
    files: dict[str, tuple[int, str]]
    #: Files of the archive that the catalogue names: path → (bytes, sha256). Empty where the archive lies elsewhere.
    archive: dict[str, tuple[int, str]] = field(default_factory=dict)
    #: Where the catalogue says that these are.
    archive_urls: list[str] = field(default_factory=list)
    seconds: float = 0.0
    #: Whether everything was read back and counted.
    verified_at: datetime | None = None
    #: Major version of the pg_dump that wrote the dumps: only a pg_restore as new reads them. None: not noted.
    client_version: int | None = None
    #: What the database itself lacked of what is counted elsewhere, in words. None: an earlier version did not look.
    faults: list[str] | None = None

    @property
    def right(self) -> bool:
        """Whether it was read back, and nothing is known to have been missing when it was made."""
        return self.verified_at is not None and not self.faults

    @property
    def rows(self) -> int:
        """Rows of the market database."""
        return sum(rows for rows, _ in self.tables["market"].values())

    @property
    def bytes(self) -> int:
        """Size of the dumps; the archive's files are shared between backups and not in it."""
        return sum(size for size, _ in self.files.values())

    def write(self, folder: Path) -> None:
        """Write the manifest into ``folder``, whole or not at all."""
        new = folder / f"{MANIFEST}.new"
        new.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1, default=_plain))
        new.replace(folder / MANIFEST)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Of one backup. Raises OpsError where there is none that can be read."""
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
    """Where a backup of that moment goes: a folder that does not exist yet.

    A second backup within one second, or after the clock was set back, takes the next free number.
    """
    name = f"{moment.astimezone(UTC):%Y-%m-%dT%H-%M-%SZ}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(backup_dir / one for one in names if not (backup_dir / one).exists())


def complete(backup_dir: Path) -> list[Backup]:
    """Complete backups, oldest first. One whose manifest cannot be read is not complete."""
    found = []
    for path in backup_dir.glob(f"*/{MANIFEST}"):
        if not path.parent.name.endswith(PARTIAL):
            try:
                found.append(Backup(path.parent, Manifest.read(path.parent)))
            except OpsError:
                continue
    return sorted(found, key=lambda backup: backup.manifest.created_at)


def stored_bytes(backup_dir: Path) -> int:
    """What all complete backups take: their dumps, and each archive file once."""
    done = complete(backup_dir)
    pool = {path: size for one in done for path, (size, _) in one.manifest.archive.items()}
    return sum(one.manifest.bytes for one in done) + sum(pool.values())


def hashed(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file below ``folder`` (but the manifest): path → (bytes, sha256)."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): (path.stat().st_size, sha256(path)) for path in files}


def sha256(path: Path) -> str:
    """Of one file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copied_rows(stream: IO[bytes]) -> Iterator[tuple[str, int]]:
    """Tables and their numbers of rows, from what ``pg_restore --data-only`` prints."""
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
            cut = buffer.rfind(b"\n", 0, max(len(buffer) - 3, 0)) + 1  # the end mark may be cut in two
            rows += buffer.count(b"\n", 0, cut)
            buffer = buffer[cut:]
            break
    if table:
        raise OpsError(f"the dump ends within table {table}")


def _next_copy(buffer: bytes) -> tuple[str, bytes, bool]:
    """The table of the next COPY block, what follows its head, and whether there was one."""
    at = 0 if buffer.startswith(b"COPY ") else buffer.find(b"\nCOPY ") + 1
    if at == 0 and not buffer.startswith(b"COPY "):
        return "", buffer[-6:], False
    end = buffer.find(b"\n", at)
    if end < 0:
        return "", buffer[at:], False
    return buffer[at:end].split(b" ")[1].decode().replace('"', ""), buffer[end + 1 :], True


def staying(done: list[Backup], keep: int) -> list[Backup]:
    """Those of all complete backups (oldest first) that are kept: the newest ``keep`` that are right.

    A backup of a database that lacked something never pushes out one that was right: only the newest such is kept, and
    only while nothing right is newer.
    """
    stay = [backup for backup in done if backup.manifest.right][-keep:]
    return stay if not done or done[-1] in stay else [*stay, done[-1]]


def prune(backup_dir: Path, keep: int) -> list[Path]:
    """Remove all but the backups that stay, what a kill left, and archive files that none of them needs."""
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
