"""The folder of an Iceberg table: its metadata, the hint that names the newest of it, and what killed commits left.

Only files that Iceberg's own names mark as metadata are ever deleted here; Parquet files belong to mirror and archive.
"""

from __future__ import annotations

import re
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from crypto_pipeline.lake.iceberg.catalogue import location
from crypto_pipeline.lake.iceberg.table_names import TableName
from crypto_pipeline.lake.mirror import ownership
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.database.pool import Connections

#: Files that no snapshot needs stay this long, for readers that still read them.
GRACE = timedelta(hours=1)
_HINT = "metadata/version-hint.text"
_METADATA = re.compile(r"metadata/(\d+)-[0-9a-f-]{36}(?:\.gz)?\.metadata\.json")
_MANIFEST = re.compile(r"metadata/(?:snap-\d+-\d+-)?[0-9a-f-]{36}(?:-m\d+)?\.avro")


def claim(connections: Connections, url: str, *, by_force: bool = False) -> None:
    """Mark the place of all tables as this database's: two that shared one would delete each other's metadata.

    Raises StoreError if it is another's, unless ``by_force``.
    """
    ownership.claim(
        connections, ArchiveStorage(url), by_force=by_force,
        what="the folder of Iceberg tables", setting="iceberg_url", command="iceberg follow",
    )  # fmt: skip


class TableFolder:
    """The folder of one table below ``url``, the place of all tables."""

    def __init__(self, url: str, name: TableName) -> None:
        self._storage = ArchiveStorage(f"{ArchiveStorage(url).url}/{name.namespace}/{name.name}")
        #: Where it is, as readers of Iceberg write it. Raises StoreError for a path that they would not understand.
        self.location = location(self._storage.url)

    def write_hint(self, metadata_location: str) -> None:
        """Let readers that are given the folder find the newest metadata: DuckDB, pyiceberg and Polars look for it."""
        name = metadata_location.rpartition("/")[2].removesuffix(".metadata.json")
        with tempfile.NamedTemporaryFile("w", prefix="crypto-pipeline-", suffix=".text") as file:
            file.write(name)
            file.flush()
            self._storage.replace(_HINT, Path(file.name))

    def missing(self, needed: set[str]) -> set[str]:
        """Those of the ``needed`` files (locations) that are not in the folder."""
        return needed - {f"{self.location}/{path}" for path in self._storage.paths()}

    def sweep(self, own: set[str], grace: timedelta = GRACE, now: datetime | None = None) -> int:
        """Delete metadata files that are not among ``own`` (locations) and older than ``grace``; return their number.

        Metadata of a version later than all of ``own`` is of a commit that never was, and deleted at once: readers
        that take the latest version would read it. Nobody else may commit meanwhile.
        """
        kept = {place.removeprefix(f"{self.location}/") for place in own}
        newest = max((int(found[1]) for found in map(_METADATA.fullmatch, kept) if found), default=-1)
        limit = (now or datetime.now(UTC)) - grace
        removed = 0
        for path, changed in self._storage.changes():
            metadata = _METADATA.fullmatch(path)
            if path in kept or not (metadata or _MANIFEST.fullmatch(path)):
                continue
            if changed < limit or (metadata and int(metadata[1]) >= newest):
                self._storage.delete(path)
                removed += 1
        return removed

    def clear(self) -> int:
        """Delete all metadata of the table, and the hint first; return the number of files."""
        self._storage.delete(_HINT)
        return self.sweep(set(), timedelta(0), datetime.max.replace(tzinfo=UTC))
