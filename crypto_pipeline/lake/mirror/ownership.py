"""Which database a folder of the mirror belongs to, and files in it that no catalogue knows.

A file is catalogued before its first byte is stored. So a file that the catalogue does not know is left over from a
database that was restored to an earlier state. It may only be deleted in a folder that no other database uses.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.mirror import catalogue

#: File that names the database to which a folder belongs.
MARK = "OWNER"


def owner_of(storage: ArchiveStorage) -> str | None:
    """The mark in a folder; None if it has none."""
    if MARK not in storage.paths():
        return None
    with storage.fetched(MARK) as file:
        return file.read_text().strip()


def claim(
    connections: Connections,
    storage: ArchiveStorage,
    *,
    by_force: bool = False,
    what: str = "the mirror",
    setting: str = "mirror_url",
    command: str = "mirror make",
) -> None:
    """Mark a folder as this database's. Raises StoreError if it is another's, unless ``by_force``."""
    token = connections.run(catalogue.owner)
    there = owner_of(storage)
    if there == token:
        return
    if there is not None and not by_force:
        raise StoreError(
            f"{what} at {storage.url} belongs to another database: set another {setting}, or take it over by "
            f"`crypto-pipeline {command} --take-over` if that database is no more"
        )
    with tempfile.TemporaryDirectory() as folder:
        mark = Path(folder) / MARK
        mark.write_text(token + "\n")
        storage.replace(MARK, mark)


def leave(storage: ArchiveStorage) -> None:
    """Remove the mark from a folder without files, and the folder."""
    if set(storage.paths()) - {MARK}:
        return
    storage.delete(MARK)
    if storage.folder is not None:
        for place in sorted((one for one in storage.folder.glob("**") if one.is_dir()), reverse=True):
            with suppress(OSError):  # somebody has put another file there
                place.rmdir()


def remove_unknown(store: Store, storage: ArchiveStorage) -> int:
    """Delete files of a folder of ours that the catalogue does not know; return their number."""
    # listed first: a file that is listed was catalogued before
    listed = [path for path in storage.paths() if path.endswith(".parquet")]
    unknown = set(listed) - store.connections.run(catalogue.paths, storage.url)
    for path in sorted(unknown):
        storage.delete(path)
    return len(unknown)
