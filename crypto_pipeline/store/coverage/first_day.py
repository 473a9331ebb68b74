"""The first day of a database's history, read without a pool, for a process that must not run threads."""

from __future__ import annotations

from datetime import date

from crypto_pipeline.store.database.connect import connect

_FIRST_DAY = "SELECT min(day) FROM market.coverage WHERE timeframe = '1m' AND (expected > 0 OR present > 0)"


def first_day_of_minutes(url: str) -> date | None:
    """The first UTC day with stored or expected 1m bars; None if there is none, or no schema yet.

    Raises StoreError when the database does not answer.
    """
    with connect(url) as connection:
        if connection.execute("SELECT to_regclass('market.coverage')").fetchone() == (None,):
            return None
        row = connection.execute(_FIRST_DAY).fetchone()
        return None if row is None else row[0]
