"""Snapshots of an Iceberg table: the files that they list, the commit of a change, and their expiry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot


def listed_now(table: Table) -> dict[str, DataFile]:
    """The data files of a table's present snapshot, by location."""
    return _listed(table, table.current_snapshot(), {})


def listed_ever(table: Table) -> set[str]:
    """Locations of the data files of all snapshots that have not expired."""
    seen: dict[str, dict[str, DataFile]] = {}
    return {place for snapshot in table.metadata.snapshots for place in _listed(table, snapshot, seen)}


def own_files(table: Table, *, with_log: bool = True) -> set[str]:
    """Locations of the files that describe a table: metadata, manifest lists and manifests of all its snapshots.

    ``with_log``: also those of its earlier metadata, without which it can be read.
    """
    found = {table.metadata_location}
    if with_log:
        found.update(entry.metadata_file for entry in table.metadata.metadata_log)
    for snapshot in table.metadata.snapshots:
        found.add(snapshot.manifest_list)
        found.update(manifest.manifest_path for manifest in snapshot.manifests(table.io))
    return found


def _listed(table: Table, snapshot: Snapshot | None, seen: dict[str, dict[str, DataFile]]) -> dict[str, DataFile]:
    """``seen`` has the files of each manifest that was read; snapshots share most of them."""
    found: dict[str, DataFile] = {}
    for manifest in snapshot.manifests(table.io) if snapshot is not None else []:
        if manifest.manifest_path not in seen:
            entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
            seen[manifest.manifest_path] = {entry.data_file.file_path: entry.data_file for entry in entries}
        found.update(seen[manifest.manifest_path])
    return found


def commit(table: Table, new: Sequence[DataFile], gone: Sequence[DataFile], properties: Mapping[str, str]) -> None:
    """List ``new`` files and no longer ``gone`` ones, by one snapshot. ``properties`` stand in its summary."""
    with table.transaction() as transaction:
        update = transaction.update_snapshot(snapshot_properties=dict(properties))
        with update.overwrite() if gone else update.merge_append() as change:
            for file in new:
                change.append_data_file(file)
            for file in gone:
                change.delete_data_file(file)


def expire(table: Table, keep: timedelta, now: datetime | None = None) -> int:
    """Expire the snapshots that were replaced more than ``keep`` ago; return their number."""
    limit = ((now or datetime.now(UTC)) - keep).timestamp() * 1000
    ordered = sorted(table.metadata.snapshots, key=lambda one: (one.sequence_number or 0, one.timestamp_ms))
    current = table.metadata.current_snapshot_id
    old = [
        one.snapshot_id
        for one, following in pairwise(ordered)
        if following.timestamp_ms < limit and one.snapshot_id != current
    ]
    if old:
        table.maintenance.expire_snapshots().by_ids(old).commit()
    return len(old)
