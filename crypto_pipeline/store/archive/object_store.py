"""Storage of archive files: a local folder or an object store, by one URL, through the object_store library.

Credentials and endpoints of object stores come from the environment under the names that this library and Polars both
read (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``, ``AWS_ENDPOINT_URL``, ``AWS_ALLOW_HTTP``,
``GOOGLE_SERVICE_ACCOUNT``, ``AZURE_STORAGE_ACCOUNT_NAME`` …), never from a setting that could be printed.

We use obstore and not fsspec: it is one wheel without dependencies for all stores, writes to folders atomically, and is
the library that Polars scans with, so a file can be read under the name under which it was written.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from crypto_pipeline.store.database.errors import StoreError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

#: Error numbers of a link across file systems, or on one without links.
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
SCHEMES = ("file", "s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss")


def base_url(place: str | Path) -> str:
    """The URL of a folder or URL for the catalogue, without a slash at its end.

    Raises StoreError for an unsupported kind of URL.
    """
    text = str(place)
    if "://" not in text:
        return "file://" + quote(str(Path(text).expanduser().absolute()))
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES or (parts.scheme != "file" and not parts.netloc):
        raise StoreError(f"archive at {text!r}: give a folder, or a URL like s3://bucket/prefix, gs://… or az://…")
    if parts.password is not None:
        raise StoreError("the archive's URL holds a password: put credentials into the environment (AWS_…) instead")
    return text.rstrip("/")


@lru_cache(10_000)
def local_path(url: str) -> Path | None:
    """The local path of a ``file://`` URL; None for an object store."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def scan_source(url: str) -> str:
    """The source for a scan by Polars: a local path, or the object store's URL."""
    path = local_path(url)
    return url if path is None else str(path)


class ArchiveStorage:
    """The files below one URL. Thread-safe; every failure is a StoreError that names the file."""

    def __init__(self, url: str) -> None:
        self.url = base_url(url)
        self.folder = local_path(self.url)

    @cached_property
    def _store(self) -> ObjectStore:
        try:
            from obstore.store import from_url
        except ImportError:
            raise StoreError(
                "a reader-only installation cannot write archives: `pip install 'crypto-pipeline[server]'`"
            ) from None
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"cannot make the archive folder {self.folder}: {error.strerror}") from None
        with self._explained(""):
            return from_url(self.url)

    def put(self, path: str, file: Path) -> None:
        """Store ``file`` under ``path`` atomically; after the return it survives a power failure.

        In a folder of the same file system it becomes a link to ``file``, which must not be changed afterwards.
        """
        import obstore

        if not self._linked(path, file):
            with self._explained(path):
                obstore.put(self._store, path, file)
        if self.folder is not None:
            self._flush(self.folder / path)

    def replace(self, path: str, file: Path) -> None:
        """Replace the file under ``path`` by a copy of ``file``, atomically."""
        import obstore

        with self._explained(path):
            if self.folder is None:
                obstore.put(self._store, path, file)
                return
            place = self.folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            new = place.with_name(f"{place.name}#repair")  # `sweep` removes it after a kill
            shutil.copyfile(file, new)
            new.replace(place)
        self._flush(place)

    def _linked(self, path: str, file: Path) -> bool:
        if self.folder is None:
            return False
        place = self.folder / path
        with self._explained(path):
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, place)
            except OSError as error:
                if error.errno in _NO_LINKS:
                    return False
                raise
        return True

    def _flush(self, file: Path) -> None:
        """Write the file to the disk: the library renames it but does not wait for the disk."""
        assert self.folder is not None
        for place in (file, *file.parents):
            descriptor = os.open(place, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if place == self.folder:
                break

    @contextmanager
    def fetched(self, path: str) -> Iterator[Path]:
        """The stored file for the block: the local file itself, or a temporary download. Raises StoreError."""
        import obstore

        if self.folder is not None:
            place = self.folder / path
            if not place.is_file():
                raise StoreError(f"archive file {self.url}/{path} is missing")
            yield place
            return
        with tempfile.NamedTemporaryFile(prefix="crypto-pipeline-", suffix=".parquet") as copy:
            with self._explained(path):
                for chunk in obstore.get(self._store, path).stream(min_chunk_size=8 << 20):
                    copy.write(chunk)
            copy.flush()
            yield Path(copy.name)

    def delete(self, path: str) -> None:
        """Remove a file, if it exists."""
        import obstore

        with self._explained(path):
            try:
                obstore.delete(self._store, path)
            except FileNotFoundError:
                pass  # deleted by an earlier attempt

    def sweep(self) -> None:
        """Remove partial files of killed writes from a folder; object stores do not show unfinished files."""
        if self.folder is not None and self.folder.is_dir():
            for part in self.folder.glob("**/*.parquet#*"):
                part.unlink(missing_ok=True)

    def paths(self) -> list[str]:
        """Paths of all files below the URL."""
        import obstore

        with self._explained(""):
            return sorted(entry["path"] for page in obstore.list(self._store) for entry in page)

    def changes(self) -> list[tuple[str, datetime]]:
        """Paths of all files below the URL with the time (UTC) of their last change."""
        import obstore

        with self._explained(""):
            return sorted(
                (entry["path"], entry["last_modified"]) for page in obstore.list(self._store) for entry in page
            )

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            place = f"{self.url}/{path}".rstrip("/")
            raise StoreError(f"archive {place}: {said}") from error
