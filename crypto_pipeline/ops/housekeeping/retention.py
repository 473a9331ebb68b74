"""Retention of a deployment: its policy, its archive, and the readers that need tables to reach far enough back."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl

from crypto_pipeline.features.compute import LOOK_BACK
from crypto_pipeline.features.stored.update import first_kept_day
from crypto_pipeline.healing.plan import retention_policy
from crypto_pipeline.healing.processors import MONITORED
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.stored.inputs import look_ahead, look_back
from crypto_pipeline.labels.strategies.base import TIMEFRAME
from crypto_pipeline.market.retention import LookBack
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import Settings, SettingsError
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention

#: Days that the weekly sweep requests again.
SWEPT_DAYS = 14
#: Bytes of one archived bar; real months of 1m bars took 23 to 25.
ARCHIVED_BAR_BYTES = 25
_DAY = 86_400.0


def archive_url(settings: Settings) -> str:
    """Folder or URL of the archive."""
    return settings.archive_url or str(settings.data_dir / "archive")


def open_retention(store: Store, settings: Settings) -> Retention:
    """The retention of a store under ``settings``. Raises SettingsError or StoreError."""
    policy = retention_policy(settings)
    check_look_backs(settings)
    scratch = settings.data_dir / "scratch" / "archive"
    return Retention(store.connections, ArchiveStorage(archive_url(settings)), scratch, policy)


def forget_features(store: Store, settings: Settings, now: datetime | None = None) -> list[date]:
    """Drop months of features that are older than the settings keep; return their first days (UTC).

    Raises StoreError when readers hold a lock for too long.
    """
    return store.features.forget(first_kept_day(now or store.clock.now(), settings.keep_features_days))


def forget_scans(store: Store, settings: Settings, now: datetime | None = None) -> list[date]:
    """Drop scans of days that are older than ``keep_scan_days`` (counted first), and counts that are older than
    ``keep_scan_count_days``; return the days that were dropped (UTC).

    Raises StoreError when readers hold a lock for too long.
    """
    today = (now or store.clock.now()).date()
    raw = today - timedelta(days=settings.keep_scan_days)
    counted = today - timedelta(days=max(settings.keep_scan_count_days, settings.keep_scan_days))
    return store.trading.scans.forget(raw, counted)


def look_backs(settings: Settings) -> list[LookBack]:
    """All code that reads old rows from the tables, with the number of days it reads back."""
    found = [
        LookBack("the gap monitor", Timeframe.M1, MONITORED.days),
        LookBack("the gap monitor", None, MONITORED.days),
        LookBack("the weekly sweep", Timeframe.M1, SWEPT_DAYS),
        LookBack("reconciliation (reconcile_sample_days)", Timeframe.M1, settings.reconcile_sample_days),
        LookBack("recovery of live trades (ingest_recover_seconds)", None, settings.ingest_recover_seconds / _DAY),
    ]
    found += [LookBack("features", timeframe, days) for timeframe, days in LOOK_BACK.items()]
    for strategies in parameter_sets(settings.label_parameters).values():
        for strategy, parameters in strategies.items():
            days = look_back(parameters) + look_ahead(parameters)
            found.append(LookBack(f"labels of {strategy}", TIMEFRAME, days))
    return found


def check_look_backs(settings: Settings) -> None:
    """Raise SettingsError if code reads further back than the tables are kept (I9, see docs/invariants.md)."""
    try:
        retention_policy(settings).check(look_backs(settings))
    except ValueError as error:
        raise SettingsError(str(error)) from None


def describe_retention(settings: Settings, instruments: int) -> str:
    """One sentence for people: how long 1m bars are kept, what they take, and which setting changes that."""
    kept = retention_policy(settings).bars[Timeframe.M1]
    if kept.hot_days is None:
        return f"retention '{settings.retention}': 1m bars stay in the tables for ever (CRYPTO_PIPELINE_KEEP_HOT_DAYS)"
    hot = f"retention '{settings.retention}': 1m bars stay {kept.hot_days} days in the tables"
    if not kept.archived:
        return f"{hot} and are then dropped"
    if kept.kept_days is not None:
        return (
            f"{hot}, until day {kept.kept_days} in the archive, and are then dropped; "
            "CRYPTO_PIPELINE_RETENTION=research keeps them for ever"
        )
    a_year = (
        instruments
        * 366
        * sum(
            one.bars_per_cell / one.cell_days * ARCHIVED_BAR_BYTES
            for one in Timeframe
            if _for_ever_in_archive(settings, one)
        )
    )
    return (
        f"{hot}, then in the archive for ever: about {a_year / 1e9:,.1f} GB a year for all timeframes of {instruments} "
        "instruments; CRYPTO_PIPELINE_RETENTION=lean drops them after 90 days"
    )


def kept_for_ever_per_day(settings: Settings, inflow: pl.DataFrame, archive: pl.DataFrame) -> float:
    """Bytes per day of bars that are kept for ever, in the archive or in their table.

    ``inflow`` has ``timeframe``, ``rows_per_day`` and ``bytes_per_day`` of new bars; ``archive`` has ``timeframe``,
    ``rows`` and ``bytes`` of archive files.
    """
    policy = retention_policy(settings)
    files = archive.filter(pl.col("timeframe") != "").group_by("timeframe").agg(pl.col("rows", "bytes").sum())
    per_bar = {name: size / rows for name, rows, size in files.select("timeframe", "rows", "bytes").iter_rows() if rows}
    total = 0.0
    for name, rows, size in inflow.select("timeframe", "rows_per_day", "bytes_per_day").iter_rows():
        kept = policy.bars[Timeframe(name)]
        if kept.hot_days is None:
            total += size
        elif kept.kept_days is None:
            total += rows * per_bar.get(name, ARCHIVED_BAR_BYTES)
    return total


def _for_ever_in_archive(settings: Settings, timeframe: Timeframe) -> bool:
    kept = retention_policy(settings).bars[timeframe]
    return kept.archived and kept.kept_days is None
