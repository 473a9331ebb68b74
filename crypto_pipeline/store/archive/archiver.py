"""Archiving of one span: export, store, read back, and then remove the rows. A killed run can be repeated."""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from crypto_pipeline.store.archive import catalogue, detach, parquet
from crypto_pipeline.store.archive.catalogue import ArchiveFile
from crypto_pipeline.store.archive.export import Exported, export
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.parquet import Tally
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.partitions import swap
from crypto_pipeline.store.partitions.span import ChangedError, Span

log = logging.getLogger(__name__)

#: Attempts for a span that writers change while it is read; then the next run tries it again.
_ATTEMPTS = 3
#: Time for which a retired file stays, for readers that still read it.
GRACE_SECONDS = 3600

_VERIFIED = """
UPDATE market.archive_files SET status = 'verified', verified_at = clock_timestamp()
WHERE archive_id = %s AND status = 'written'
"""
_ABANDON = """
UPDATE market.archive_files SET status = 'retired', retired_at = clock_timestamp()
WHERE status IN ('written', 'verified')
"""
# A file that was never current was never read. A snapshot of an Iceberg table may need a file for longer.
_REMOVABLE = """
SELECT archive_id, base_url, path FROM market.archive_files f
WHERE status = 'retired' AND (current_at IS NULL OR retired_at < clock_timestamp() - make_interval(secs => %s))
  AND (retired_at < clock_timestamp() - interval '7 days' OR NOT EXISTS (
      SELECT FROM iceberg.listed_files l WHERE l.base_url = f.base_url AND l.path = f.path))
ORDER BY archive_id
"""


@dataclass(frozen=True, slots=True)
class Archived:
    """Result for one span: rows in its files (``kept_hot`` of them also in the table), bytes, seconds of each part.

    ``export_seconds`` includes storing and reading back; ``switch_seconds`` is the time that writers of the span
    waited.
    """

    span: Span
    rows: int
    revisions: int
    bytes: int
    kept_hot: int
    export_seconds: float
    switch_seconds: float
    drop_seconds: float


class Archiver:
    """Archives spans into ``storage``; ``scratch`` is a folder that nothing else uses. The caller holds retention's
    lock.
    """

    def __init__(self, connections: Connections, storage: ArchiveStorage, scratch: Path) -> None:
        self._connections, self.storage, self._scratch = connections, storage, scratch

    def recover(self) -> None:
        """Remove files and tables that an interrupted run left; readers never used them."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._connections.run(lambda connection: connection.execute(_ABANDON) and None)
        swap.drop_leftovers(self._connections)
        self.storage.sweep()

    def archive(self, span: Span, min_bars: int) -> Archived:
        """Write a span to files, verify them, and remove its rows from the table. Raises StoreError."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._archive(span, min_bars)
            except ChangedError as error:
                log.info("%s (attempt %d)", error, attempt)
        raise StoreError(f"{span} changed during every attempt: the next run tries it again")

    def _archive(self, span: Span, min_bars: int) -> Archived:
        clock = time.monotonic()
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            out = export(self._connections, span, self.current(span), Path(folder))
            numbers = [self._keep(out, kind, path, tally) for kind, path, tally in out.files]
            size = sum(path.stat().st_size for _, path, _ in out.files)
        exported = time.monotonic()
        done = detach.detach(self._connections, span, out.made_from, out.cells, numbers, min_bars)
        switched = time.monotonic()
        swap.drop_leftovers(self._connections)
        rows = {kind: tally.rows for kind, _, tally in out.files}
        return Archived(
            span,
            rows=rows.get("trades", 0) if span.timeframe is None else rows.get("bars", 0),
            revisions=rows.get("revisions", 0),
            bytes=size,
            kept_hot=done.staying,
            export_seconds=exported - clock,
            switch_seconds=done.seconds,
            drop_seconds=time.monotonic() - switched,
        )

    def current(self, span: Span) -> list[ArchiveFile]:
        """The current files of the span."""
        found = self._connections.run(catalogue.find, None, span.timeframe, span.start, span.end)
        return [file for file in found if file.kind in span.kinds]

    def _keep(self, out: Exported, kind: str, path: Path, tally: Tally) -> int:
        """Catalogue, store and verify one file; return its number."""
        digest, size = catalogue.sha256(path), path.stat().st_size
        # a unique name, so that removing one file never removes another
        place = f"{out.span.folder(kind)}/{digest[:24]}-{secrets.token_hex(3)}.parquet"
        entry: dict[str, Any] = {
            **parquet.entry(kind, tally, digest, size),
            "timeframe": str(out.span.timeframe or ""),
            "first_open": out.span.start,
            "end_open": out.span.end,
            "base_url": self.storage.url,
            "path": place,
            "made_from": out.made_from,
        }
        number = self._connections.run(catalogue.add, entry)
        self.storage.put(place, path)
        with self.storage.fetched(place) as stored:
            parquet.verify(stored, kind, digest, tally)
        self._connections.run(_mark_verified, number)
        return number

    def remove_retired(self) -> int:
        """Delete retired files that no reader can use any more, then their rows; return the number of files."""
        rows = self._connections.run(lambda connection: connection.execute(_REMOVABLE, [GRACE_SECONDS]).fetchall())
        for number, url, path in rows:
            storage = self.storage if url == self.storage.url else ArchiveStorage(url)
            storage.delete(path)
            self._connections.run(_forget, number)
        return len(rows)


def _mark_verified(connection: psycopg.Connection[Any], number: int) -> None:
    if connection.execute(_VERIFIED, [number]).rowcount != 1:
        raise StoreError(f"archive file {number} was removed while it was verified: another run is active")


def _forget(connection: psycopg.Connection[Any], number: int) -> None:
    connection.execute("DELETE FROM market.archive_files WHERE archive_id = %s AND status = 'retired'", [number])
