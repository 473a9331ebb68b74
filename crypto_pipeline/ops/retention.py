"""Retention of a deployment: its policy, archive and scratch folder put together, and who must not be cut short."""

from __future__ import annotations

from datetime import UTC, date, datetime

from crypto_pipeline.features.compute import LOOK_BACK
from crypto_pipeline.features.pipeline import first_kept_day
from crypto_pipeline.healing.plan import retention_policy
from crypto_pipeline.healing.processors import MONITORED
from crypto_pipeline.labels.inputs import look_ahead, look_back
from crypto_pipeline.labels.parameters import TIMEFRAME, parameter_sets
from crypto_pipeline.market.retention import LookBack
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import Settings, SettingsError
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive_storage import ArchiveStorage
from crypto_pipeline.store.retention import Retention

#: Days that the weekly sweep reads again.
SWEPT_DAYS = 14
_DAY = 86_400.0


def archive_url(settings: Settings) -> str:
    """Where archived months go, as a folder or URL."""
    return settings.archive_url or str(settings.data_dir / "archive")


def open_retention(store: Store, settings: Settings) -> Retention:
    """Retention of a store by its settings. Raises SettingsError or StoreError in one clear line."""
    policy = retention_policy(settings)
    check_look_backs(settings)
    scratch = settings.data_dir / "scratch" / "archive"
    return Retention(store.connections, ArchiveStorage(archive_url(settings)), scratch, policy)


def forget_features(store: Store, settings: Settings, now: datetime | None = None) -> list[date]:
    """Drop months of features past their time; returns their first days. StoreError: readers are in the way."""
    return store.features.forget(first_kept_day(now or datetime.now(UTC), settings.keep_features_days))


def look_backs(settings: Settings) -> list[LookBack]:
    """Everyone who reads back in time from the tables, and how far."""
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
    """Raise SettingsError that names everyone who reads further back than the tables are kept (invariant I9)."""
    try:
        retention_policy(settings).check(look_backs(settings))
    except ValueError as error:
        raise SettingsError(str(error)) from None
