"""The market's time and the first day of its history, for a process that cannot wait for a database or a venue.

A code server defines Dagster's partitions when it starts; on a first start the database starts at the same time. All
other code asks the store's clock.
"""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg

from crypto_pipeline.market.times import midnight
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.replay_clock import known_clock, own_clock
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import StoreError, resolve_url
from crypto_pipeline.store.coverage.first_day import first_day_of_minutes
from crypto_pipeline.store.database.market_clock import stated_now


def market_time(settings: Settings, wall: datetime | None = None) -> datetime:
    """The market's time, UTC.

    The database derives it from the venue's last stated time. Before the venue stated any, it is the time of the replay
    exchange's own clock, or else ``wall``, the time of this machine.
    """
    wall = wall or datetime.now(UTC)
    try:
        stated = stated_now(resolve_url(settings))
    except (StoreError, psycopg.Error):
        stated = None  # the database is not there yet, or not migrated
    if stated is not None:
        return stated
    kept = known_clock(settings, Places(settings.data_dir)) if own_clock(settings) else None
    return wall if kept is None else kept.at(wall)


def first_stored_day(settings: Settings) -> datetime | None:
    """00:00 UTC of the first day with stored or expected 1m bars; None if there is none, or no database."""
    try:
        day = first_day_of_minutes(resolve_url(settings))
    except (StoreError, psycopg.Error):
        return None  # the database is not there yet, or not migrated
    return None if day is None else midnight(day)
