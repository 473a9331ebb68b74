"""The storage report: what uses disk space, how fast that grows, when the disk is full, and what frees space."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import psycopg

from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.ops.backups import files as backup_files
from crypto_pipeline.ops.backups.files import backup_dir, nightly_backup
from crypto_pipeline.ops.host.disk_space import size_text
from crypto_pipeline.ops.housekeeping.mirror import mirror_url
from crypto_pipeline.ops.housekeeping.retention import archive_url, kept_for_ever_per_day, open_retention
from crypto_pipeline.settings import Settings, SettingsError
from crypto_pipeline.store import Store, StoreError, dagster_url
from crypto_pipeline.store.archive.object_store import base_url, local_path
from crypto_pipeline.store.operations import dagster_storage
from crypto_pipeline.store.operations.disk_usage import BAR_BYTES

#: Share of unused space above which a large table is reported.
BLOATED, BLOAT_FROM = 0.3, 100_000_000
#: Least number of future partitions; fewer means that the nightly maintenance has not run for a long time.
FEWEST_AHEAD = 2
#: Smaller tables are not shown to people, in bytes.
_SMALL = 65_536


@dataclass(frozen=True)
class DiskUse:
    """The disk of the database in bytes; None if it cannot be seen from here, with the reason."""

    free: int | None
    total: int | None
    because: str = ""


@dataclass(frozen=True)
class StorageReport:
    """Contents of ``crypto-pipeline storage``. Sizes are in bytes, rates per day."""

    taken_at: datetime
    disk: DiskUse
    database_bytes: int
    cache_hit: float | None
    tables: pl.DataFrame
    indexes: pl.DataFrame
    archive: pl.DataFrame
    mirror: pl.DataFrame
    growth: pl.DataFrame
    #: Growth in bytes per day, and whether it was measured or estimated from the bars of the last days.
    bytes_per_day: float
    measured: bool
    #: Bytes per day that retention never removes.
    lasting_per_day: float
    freed: pl.DataFrame
    slow_queries: pl.DataFrame | None
    dagster: pl.DataFrame
    backups_bytes: int
    archive_is_local: bool
    partitions_ahead: dict[str, int]

    @property
    def days_until_full(self) -> float | None:
        """Days until the disk is full at the current growth; None if the disk is unknown or nothing grows."""
        if self.disk.free is None or self.bytes_per_day <= 0:
            return None
        return self.disk.free / self.bytes_per_day

    @property
    def freed_bytes(self) -> int:
        """Bytes that the next retention run removes from the tables, estimated."""
        return int(self.freed["bytes"].sum() or 0)

    @property
    def bloated(self) -> pl.DataFrame:
        """Large tables with much unused space."""
        return self.tables.filter(
            (pl.col("bytes") >= BLOAT_FROM) & (pl.col("bloat_bytes") > BLOATED * pl.col("heap_bytes"))
        )

    def headline(self) -> str:
        """The report in one line."""
        until = self.days_until_full
        full = (
            "unknown"
            if self.disk.free is None
            else "never, it does not grow"
            if until is None
            else f"{until:,.0f} days"
        )
        how = "measured" if self.measured else "estimated from the bars of the last days, retention not counted"
        return (
            f"database {size_text(self.database_bytes)}, {size_text(self.bytes_per_day)} a day ({how}), of which "
            f"{size_text(self.lasting_per_day)} stay for ever, "
            f"until the disk is full: {full}{f' ({self.disk.because})' if self.disk.because else ''}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The report as a dict for JSON."""
        frames = ("tables", "indexes", "archive", "mirror", "growth", "freed", "dagster")
        return {
            "taken_at": self.taken_at,
            "headline": self.headline(),
            "disk": {"free": self.disk.free, "total": self.disk.total, "unknown_because": self.disk.because or None},
            "database_bytes": self.database_bytes,
            "backups_bytes": self.backups_bytes,
            "cache_hit": self.cache_hit,
            "bytes_per_day": self.bytes_per_day,
            "lasting_bytes_per_day": self.lasting_per_day,
            "measured": self.measured,
            "days_until_full": self.days_until_full,
            "freed_bytes": self.freed_bytes,
            "partitions_ahead": self.partitions_ahead,
            "slow_queries": None if self.slow_queries is None else self.slow_queries.to_dicts(),
            **{name: getattr(self, name).to_dicts() for name in frames},
        }


def report(settings: Settings, store: Store, url: str, *, sample: bool = False) -> StorageReport:
    """Make the report. ``sample``: also store the current sizes, from which later reports measure growth."""
    storage, now = store.storage, datetime.now(UTC)
    dagster = _dagster(settings, url)
    backups = backup_files.stored_bytes(backup_dir(settings))
    if sample:
        files = {"archive": storage.archive(), "mirror": storage.mirror(), "dagster": dagster}
        storage.sample(_beside(settings, files, backups))
    server, growth, archive, tables = storage.server(), storage.growth(), storage.archive(), storage.tables()
    whole = growth.filter(name="")
    measured = whole.height > 0
    inflow = storage.inflow()
    rate = float(whole["bytes_per_day"][0]) if measured else float(inflow["bytes_per_day"].sum() or 0)
    return StorageReport(
        taken_at=now,
        disk=_disk(settings, int(server["server_bytes"] or server["bytes"])),
        database_bytes=int(server["bytes"]),
        cache_hit=server["cache_hit"],
        tables=tables,
        indexes=storage.indexes(),
        archive=archive,
        mirror=storage.mirror(),
        growth=growth.filter(pl.col("name") != ""),
        bytes_per_day=rate,
        measured=measured,
        lasting_per_day=_lasting(settings, inflow, archive),
        freed=next_retention(settings, store, tables),
        slow_queries=storage.slow_queries(),
        dagster=dagster,
        backups_bytes=backups,
        archive_is_local=local_path(base_url(archive_url(settings))) is not None,
        partitions_ahead=storage.partitions_ahead(store.clock.now()),
    )


def _lasting(settings: Settings, inflow: pl.DataFrame, archive: pl.DataFrame) -> float:
    try:
        lasting = kept_for_ever_per_day(settings, inflow, archive)
    except SettingsError:  # the settings of retention contradict each other; the retention job reports it
        return 0.0
    copied = "backups" in _disk_mates(settings) and "archive" in _disk_mates(settings)
    return lasting * (2 if copied and nightly_backup(settings) else 1)


def next_retention(settings: Settings, store: Store, tables: pl.DataFrame) -> pl.DataFrame:
    """What retention would remove from the tables now: ``timeframe`` (or trades), ``spans``, ``rows``, ``bytes``.

    ``bytes`` are estimated from the mean size of a row with its indexes. The frame is empty while the settings of
    retention contradict each other; the retention job reports that.
    """
    schema = {"timeframe": pl.String, "spans": pl.Int64, "rows": pl.Int64}
    try:
        due = open_retention(store, settings).due()
    except SettingsError:
        due = []
    rows = [(str(one.span.timeframe or "trades"), 1, one.rows) for one in due if one.waits is None]
    per_row = tables.filter(pl.col("rows") > 0).select(
        pl.when(pl.col("table") == "market.trades").then(pl.lit("trades")).otherwise("timeframe").alias("timeframe"),
        (pl.col("bytes") / pl.col("rows")).alias("bytes_per_row"),
    )
    return (
        pl.DataFrame(rows, schema=schema, orient="row")
        .group_by("timeframe", maintain_order=True)
        .sum()
        .join(per_row.filter(pl.col("timeframe") != ""), on="timeframe", how="left")
        .with_columns((pl.col("rows") * pl.col("bytes_per_row").fill_null(BAR_BYTES)).cast(pl.Int64).alias("bytes"))
        .drop("bytes_per_row")
    )


def _beside(settings: Settings, frames: Mapping[str, pl.DataFrame], backups: int) -> dict[str, int]:
    """Bytes of what shares the disk of the database, by name."""
    sizes = {name: int(frame["bytes"].sum() or 0) for name, frame in frames.items()}
    return {name: size for name, size in {**sizes, "backups": backups}.items() if name in _disk_mates(settings)}


def _disk_mates(settings: Settings) -> set[str]:
    """Which of ``dagster``, ``archive``, ``mirror`` and ``backups`` share the disk of the database."""
    found = {"dagster"} if settings.dagster_database_url is None else set()
    if settings.database_url is None:
        for name, url in (("archive", archive_url(settings)), ("mirror", mirror_url(settings))):
            files = local_path(base_url(url))
            if files is not None and _same_disk(files, settings.data_dir):
                found.add(name)
        if _same_disk(backup_dir(settings), settings.data_dir):
            found.add("backups")
    return found


def _same_disk(one: Path, other: Path) -> bool:
    return _existing(one).stat().st_dev == _existing(other).stat().st_dev


def _disk(settings: Settings, stored: int) -> DiskUse:
    if settings.database_url is None:
        usage = shutil.disk_usage(_existing(settings.data_dir))
        return DiskUse(usage.free, usage.total)
    if settings.disk_gb is not None:
        total = int(settings.disk_gb * 1e9)
        return DiskUse(max(0, total - stored), total)
    return DiskUse(None, None, "a server of your own: set CRYPTO_PIPELINE_DISK_GB to its size")


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _dagster(settings: Settings, url: str) -> pl.DataFrame:
    try:
        return dagster_storage.sizes(dagster_url(settings, url))
    except (StoreError, psycopg.Error):  # Dagster has not run yet, or its database is not accessible
        return pl.DataFrame(schema={"table": pl.String, "rows": pl.Int64, "bytes": pl.Int64})


def judge(settings: Settings, found: StorageReport) -> list[CheckOutcome]:
    """Check results of the report: free disk, partitions made in advance, unused space in tables."""
    until = found.days_until_full
    low = found.disk.free is not None and found.disk.total and found.disk.free < 0.05 * found.disk.total
    lasts = (until is None or until >= settings.disk_days_warn) and not low
    grave = (until is not None and until < settings.disk_days_error) or low
    ahead = {name: count for name, count in found.partitions_ahead.items() if count < FEWEST_AHEAD}
    said_ahead = ", ".join(f"{name}: {count} ahead" for name, count in (ahead or found.partitions_ahead).items())
    said_ahead += "; run the job maintenance" if ahead else ""
    bloated = [
        f"{row['table']} {row['timeframe']}: {size_text(row['bloat_bytes'])} of {size_text(row['heap_bytes'])} unused"
        for row in found.bloated.iter_rows(named=True)
    ]
    trim = "" if lasts else "; `crypto-pipeline storage trim` lists what it can delete at once"
    fine = f"no table over {size_text(BLOAT_FROM)} has more than {BLOATED:.0%} unused space"
    return [
        CheckOutcome("disk_lasts", "storage", bool(lasts), "error" if grave else "warning", found.headline() + trim),
        CheckOutcome("partitions_ahead", "storage", not ahead, "warning", said_ahead),
        CheckOutcome("tables_are_not_bloated", "storage", not bloated, "warning", ", ".join(bloated) or fine),
    ]


def readable(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame for people: sizes in kB, MB or GB, shares in percent, times to the minute; no tables under 64 kB."""
    if {"table", "bytes"} <= set(frame.columns):
        frame = frame.filter(pl.col("bytes") >= _SMALL)
    texts: list[pl.Expr] = []
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if "bytes" in name:
            texts.append(column.map_elements(size_text, return_dtype=pl.String))
        elif name in ("dead_share", "cache_hit"):
            texts.append((column * 100).round(1).cast(pl.String) + " %")
        elif isinstance(dtype, pl.Datetime):
            texts.append(column.dt.strftime("%Y-%m-%d %H:%M"))
        elif dtype.is_float():
            texts.append(column.round(3))
    return frame.with_columns(texts)
