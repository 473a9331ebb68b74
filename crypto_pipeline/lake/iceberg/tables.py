"""The Iceberg tables of a deployment: they follow the catalogues of mirror and archive, and let go what is old."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io import FileIO, load_file_io
from pyiceberg.io.pyarrow import parquet_file_to_data_file
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from crypto_pipeline.lake.iceberg import columns, snapshots
from crypto_pipeline.lake.iceberg.catalogue import catalogue_uri, file_properties, location, open_catalogue
from crypto_pipeline.lake.iceberg.table_folder import GRACE, TableFolder, claim
from crypto_pipeline.lake.iceberg.table_names import COLUMNS, NAMESPACES, TableName
from crypto_pipeline.lake.mirror import ownership
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.sessions.exclusive import require_session
from crypto_pipeline.store.database.sessions.locks import lock_session
from crypto_pipeline.store.database.sessions.pooler import direct_url
from crypto_pipeline.store.iceberg import listed_files
from crypto_pipeline.store.iceberg.lake_files import LakeFile, column_comments, lake_files

log = logging.getLogger(__name__)

_LOCK = (0x69636562,)  # "iceb"
#: Footers are read by so many threads: what takes time is waiting for the disk, or for an object store.
_READERS = 4
#: Columns that files have statistics of.
_CHOSEN_BY = ("instrument", "open_time", "time", "signal_ts", "recorded_at", "superseded_at")
#: Beside what Iceberg's defaults are: names stand for the ids that our files do not have; other engines must not delete
#: our files; Spark's vectorized reader of Iceberg does not read our times in milliseconds.
_PROPERTIES = {
    "format-version": "2",
    "gc.enabled": "false",
    "read.parquet.vectorization.enabled": "false",
    "write.metadata.previous-versions-max": "20",
    "commit.manifest.min-count-to-merge": "20",
    "write.metadata.metrics.default": "none",
} | {f"write.metadata.metrics.column.{name}": "full" for name in _CHOSEN_BY}


@dataclass(slots=True)
class FollowedTable:
    """What one table lists after it has followed: its files and their rows, how many of them are new or gone.

    ``waiting_rows`` are in files that are only partly in use and are listed when they have been made again.
    ``unreadable`` says of each file that could not be listed why.
    """

    name: TableName
    files: int = 0
    rows: int = 0
    added: int = 0
    removed: int = 0
    waiting_rows: int = 0
    expired: int = 0
    swept: int = 0
    metadata_location: str = ""
    unreadable: list[str] = field(default_factory=list)


class IcebergTables:
    """The tables in the database of ``connections``, with their metadata below ``url`` (a folder or object store).

    ``keep``: how long a snapshot stays readable after another has replaced it. ``take_over``: what changes tables does
    so where the place belongs to another database, too; else it raises StoreError.
    """

    def __init__(self, connections: Connections, url: str, keep: timedelta = GRACE, *, take_over: bool = False) -> None:
        self._connections, self._url, self._keep, self._take_over = connections, url, keep, take_over
        #: Paths of the files that are there, by base URL.
        self._stored: dict[str, set[str]] = {}
        self._require_lock: Callable[[], None]

    def follow(self, progress: Callable[[str], None] = log.info) -> list[FollowedTable]:
        """Let every table list what mirror and archive have now. A killed run is simply repeated. Raises StoreError.

        One run at a time; another waits.
        """
        with self.exclusive() as catalogue:
            claim(self._connections, self._url, by_force=self._take_over)
            self._stored.clear()
            wanted: dict[TableName, list[LakeFile]] = {name: [] for name in _known(catalogue)}
            for file in self._connections.run(lake_files):
                wanted.setdefault(TableName.of(file), []).append(file)
            done = []
            for name, files in sorted(wanted.items()):
                done.append(self._follow(catalogue, name, files))
                if done[-1].added or done[-1].removed:
                    progress(f"{name}: {done[-1].added} files more, {done[-1].removed} less, {done[-1].rows:,} rows")
            return done

    def drop(self) -> list[TableName]:
        """Drop all tables and their metadata; the files of mirror and archive stay. Return their names."""
        with self.exclusive() as catalogue:
            names = _known(catalogue)
            if names:
                claim(self._connections, self._url, by_force=self._take_over)
            for name in names:
                catalogue.drop_table(str(name))
                TableFolder(self._url, name).clear()
                self._record(str(name), set(), set())
            ownership.leave(ArchiveStorage(self._url))
        return names

    def uri(self, *, with_password: bool) -> str:
        """The URI with which pyiceberg opens the catalogue."""
        return catalogue_uri(self._connections.url, with_password=with_password)

    def state(self) -> list[FollowedTable]:
        """What the tables list now. Raises StoreError."""
        with open_catalogue(self._connections.url) as catalogue:
            found = []
            for name in _known(catalogue):
                table = catalogue.load_table(str(name))
                files = snapshots.listed_now(table).values()
                state = FollowedTable(name, len(files), sum(one.record_count for one in files))
                state.metadata_location = table.metadata_location
                found.append(state)
            return found

    @contextmanager
    def exclusive(self) -> Iterator[SqlCatalog]:
        """The catalogue for the block, during which nobody else changes the tables."""
        self._connections.run(lambda connection: None)  # waits for a server that restarts
        with connect(direct_url(self._connections.url)) as connection:
            lock_session(connection, _LOCK)
            self._require_lock = partial(require_session, connection)
            with open_catalogue(self._connections.url) as catalogue:
                yield catalogue

    def _follow(self, catalogue: SqlCatalog, name: TableName, files: Sequence[LakeFile]) -> FollowedTable:
        whole = {location(file.url): file for file in files if file.whole}
        done = FollowedTable(name, waiting_rows=sum(file.held for file in files if not file.whole))
        folder = TableFolder(self._url, name)
        table, listed = _loaded(catalogue, name, folder)
        if table is not None:
            # a commit, or the metadata of one that never was, may have been the last act of a killed run
            folder.sweep(snapshots.own_files(table))
            folder.write_hint(table.metadata_location)
        for place in [place for place in listed if place in whole and not self._is_stored(whole[place])]:
            done.unreadable.append(f"{place}: it is missing")
            del whole[place]
        new = {place: file for place, file in whole.items() if place not in listed}
        schemas = _footers(load_file_io(file_properties(), folder.location), new, done)
        if table is None and not schemas:
            return done
        comments = COLUMNS | self._connections.run(column_comments, name.source)
        all_columns = columns.merged(list(schemas.values()))
        if table is None:
            folder.clear()
            table = _created(catalogue, name, folder, all_columns, comments)
        columns.add_columns(table, all_columns, comments)
        self._connections.run(listed_files.record, str(name), [new[place] for place in schemas])
        entries = [parquet_file_to_data_file(table.io, table.metadata, place) for place in schemas]
        gone = [entry for place, entry in listed.items() if place not in whole]
        self._require_lock()
        if entries or gone:
            snapshots.commit(table, entries, gone, {"crypto-pipeline.waiting-rows": str(done.waiting_rows)})
        done.added, done.removed = len(entries), len(gone)
        self._tidy(table, folder, done)
        return done

    def _is_stored(self, file: LakeFile) -> bool:
        """Whether a file is there. One that a table lists already is not opened again."""
        if file.base_url not in self._stored:
            self._stored[file.base_url] = set(ArchiveStorage(file.base_url).paths())
        return file.path in self._stored[file.base_url]

    def _tidy(self, table: Table, folder: TableFolder, done: FollowedTable) -> None:
        """Expire snapshots, let go what none of the others lists, and take down what the table has now."""
        done.expired = snapshots.expire(table, self._keep)
        folder.write_hint(table.metadata_location)
        now = snapshots.listed_now(table)
        self._record(str(done.name), set(now), snapshots.listed_ever(table))
        self._require_lock()  # another run's commit is not one that never was
        done.swept = folder.sweep(snapshots.own_files(table))
        done.files, done.rows = len(now), sum(entry.record_count for entry in now.values())
        done.metadata_location = table.metadata_location

    def _record(self, name: str, present: set[str], kept: set[str]) -> None:
        """Take down which files a table lists, and let go those that none of its snapshots does (locations)."""
        recorded = self._connections.run(listed_files.listed, name)
        places = {(url, path): location(f"{url.rstrip('/')}/{path}") for url, path in recorded}
        in_use = [key for key, place in places.items() if place in present]
        self._connections.run(listed_files.mark, name, in_use)
        free = [key for key, place in places.items() if place not in kept]
        if free:
            self._connections.run(listed_files.forget, name, free)


def _known(catalogue: SqlCatalog) -> list[TableName]:
    names = [identifier for namespace in NAMESPACES for identifier in catalogue.list_tables(namespace)]
    return sorted(TableName(*identifier) for identifier in names)


def _loaded(catalogue: SqlCatalog, name: TableName, folder: TableFolder) -> tuple[Table | None, dict[str, DataFile]]:
    """A table and the files that it lists; None if there is none.

    One whose metadata is lost, or in another place than its folder, is forgotten: it is made again. That other place
    may belong to the database of which this one is a copy.
    """
    try:
        table = catalogue.load_table(str(name))
        if table.location() == folder.location and not folder.missing(snapshots.own_files(table, with_log=False)):
            return table, snapshots.listed_now(table)
        why = f"not all of it is in {folder.location}"
    except NoSuchTableError:
        return None, {}
    except (FileNotFoundError, ValueError, EOFError) as error:
        why = str(error)
    log.warning("metadata of the Iceberg table %s is lost, it is made again: %s", name, why)
    catalogue.drop_table(str(name))
    return None, {}


def _created(
    catalogue: SqlCatalog,
    name: TableName,
    folder: TableFolder,
    all_columns: Mapping[str, pa.DataType],
    comments: Mapping[str, str],
) -> Table:
    schema = columns.first_schema(all_columns, comments)
    mapping = schema.name_mapping.model_dump_json()
    properties = {**_PROPERTIES, "comment": name.about, "schema.name-mapping.default": mapping}
    return catalogue.create_table(str(name), schema, location=folder.location, properties=properties)


def _footers(io: FileIO, files: Mapping[str, LakeFile], done: FollowedTable) -> dict[str, pa.Schema]:
    """Columns of files, by location. A file that cannot be read, or has other rows than catalogued, is left out."""

    def one(item: tuple[str, LakeFile]) -> tuple[str, pa.Schema | str]:
        place, file = item
        try:
            with io.new_input(place).open() as stream:
                footer = pq.read_metadata(stream)
        except (OSError, pa.ArrowException) as error:
            return place, str(error).splitlines()[0]
        if footer.num_rows != file.rows:
            return place, f"{footer.num_rows:,} rows instead of {file.rows:,}"
        return place, footer.schema.to_arrow_schema()

    found: dict[str, Any] = {}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="iceberg") as pool:
        for place, schema in pool.map(one, files.items()):
            if isinstance(schema, str):
                done.unreadable.append(f"{place}: {schema}")
            else:
                found[place] = schema
    return found
