"""Proof that archive files are intact: before their first use in a process, and all files in turn.

A Parquet reader reads many flipped bits as other values without an error. So a local file is hashed before a process
first reads it, and again when its size or modification time has changed. That costs one read of the file: about 100 ms
for a month of 1m bars of 90 instruments. Files in an object store are only proven in turn, because the first use would
have to download all of the file, and object stores keep their own checksums.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from crypto_pipeline.store.archive import catalogue
from crypto_pipeline.store.archive.catalogue import ArchiveFile, sha256
from crypto_pipeline.store.archive.object_store import ArchiveStorage, local_path
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections

_LAST = "SELECT archive_id, fault IS NULL, proven_at FROM ops.archive_proofs"
_NOTE = """
INSERT INTO ops.archive_proofs (archive_id, fault) VALUES (%s, %s)
ON CONFLICT (archive_id) DO UPDATE SET proven_at = clock_timestamp(), fault = excluded.fault
"""
_FORGET = """
DELETE FROM ops.archive_proofs p
WHERE NOT EXISTS (SELECT FROM market.archive_files f WHERE f.archive_id = p.archive_id)
"""
_STANDING = """
SELECT count(p.archive_id), count(*), min(p.proven_at),
       coalesce(array_agg(p.fault ORDER BY p.archive_id) FILTER (WHERE p.fault IS NOT NULL), '{}')
FROM market.archive_files f LEFT JOIN ops.archive_proofs p USING (archive_id) WHERE f.status = 'current'
"""


class DamagedFileError(StoreError):
    """An archive file is damaged or missing; the message names it and the command that repairs it."""


@dataclass(frozen=True, slots=True)
class ArchiveProof:
    """State of all current files: ``faults`` in words, the number of ``files`` and of ``proven`` ones, and the time
    of the ``oldest`` proof (UTC). ``looked_at`` files were read in this round.
    """

    faults: list[str]
    looked_at: int
    proven: int
    files: int
    oldest: datetime | None


class HashedFiles:
    """The SHA-256 of each local file as it was when this process read it; another size or time is another file.
    Thread-safe.
    """

    def __init__(self) -> None:
        #: By path, size, modification time and inode.
        self._found: dict[tuple[str, int, int, int], str] = {}

    def has(self, path: Path, digest: str) -> bool:
        """Whether the file was read as it is now, and had this SHA-256. Raises OSError where it cannot be looked at."""
        return self._found.get(_key(path)) == digest

    def read(self, path: Path) -> str:
        """Hash the whole file, and remember the result. Raises OSError where it cannot be read."""
        key, found = _key(path), sha256(path)
        self._found[key] = found
        return found

    def forget(self) -> None:
        """Forget all results, so that every file is read again before its next use, as in a new process."""
        self._found.clear()


def _key(path: Path) -> tuple[str, int, int, int]:
    entry = path.stat()
    return str(path), entry.st_size, entry.st_mtime_ns, entry.st_ino


_hashed = HashedFiles()


def require_whole(files: Sequence[ArchiveFile]) -> None:
    """Raise DamagedFileError if a local file is damaged, FileNotFoundError if it is missing.

    Each file is read once per process.
    """
    unseen = [(file, path) for file in files if (path := local_path(file.url)) is not None]
    unseen = [(file, path) for file, path in unseen if not _hashed.has(path, file.sha256)]
    if not unseen:
        return
    with ThreadPoolExecutor(min(len(unseen), os.cpu_count() or 1), thread_name_prefix="prove") as pool:
        for fault in pool.map(lambda one: _fault(*one), unseen):
            if fault is not None:
                raise DamagedFileError(fault)


def forget_proofs() -> None:
    """Forget all results, so that every file is read again before its next use, as in a new process."""
    _hashed.forget()


def _fault(file: ArchiveFile, path: Path) -> str | None:
    found = _hashed.read(path)
    return None if found == file.sha256 else damaged(file, f"its SHA-256 is {found}, not {file.sha256}")


def damaged(file: ArchiveFile, why: str) -> str:
    """The message about a damaged file."""
    return f"archive file {file.url} is damaged: {why}; `crypto-pipeline archive repair` restores it"


def examine(file: ArchiveFile) -> str | None:
    """Read a local or remote file again; return its fault in words, None if it is intact."""
    try:
        with ArchiveStorage(file.base_url).fetched(file.path) as path:
            found = sha256(path)
    except (StoreError, OSError) as error:
        return damaged(file, str(error))
    return None if found == file.sha256 else damaged(file, f"its SHA-256 is {found}, not {file.sha256}")


def prove_in_turn(connections: Connections, most_bytes: int, most_downloaded: int) -> ArchiveProof:
    """Examine current files: first those with a fault, then those with the oldest proof.

    Whole files are read, up to about ``most_bytes`` on this machine and ``most_downloaded`` from object stores.
    """
    last = {number: (fine, at) for number, fine, at in connections.run(_rows, _LAST)}
    files = connections.run(catalogue.find)
    files.sort(key=lambda file: (file.archive_id in last, *last.get(file.archive_id, ()), file.archive_id))
    left = {True: most_bytes, False: most_downloaded}
    looked_at = 0
    for file in files:
        here = local_path(file.url) is not None
        if left[here] <= 0:
            continue
        left[here] -= file.bytes
        note(connections, file, examine(file))
        looked_at += 1
    connections.run(lambda connection: connection.execute(_FORGET) and None)
    ((proven, count, oldest, faults),) = connections.run(_rows, _STANDING)
    return ArchiveProof(list(faults), looked_at, proven, count, oldest)


def note(connections: Connections, file: ArchiveFile, fault: str | None) -> None:
    """Record the result for one file."""
    connections.run(lambda connection: connection.execute(_NOTE, [file.archive_id, fault]) and None)


def _rows(connection: psycopg.Connection[Any], query: str) -> list[Any]:
    return connection.execute(query).fetchall()
