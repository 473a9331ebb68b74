"""Reads macro series: which are collected, and observations as of a moment. Needs nothing of the extra ``server``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl
from psycopg import Connection
from psycopg.rows import class_row

from crypto_pipeline.market.macro.selection import OBSERVATION_SCHEMA, Prints, known_at, select_prints
from crypto_pipeline.market.near_names import did_you_mean, near_names
from crypto_pipeline.store.database.errors import UnknownNameError
from crypto_pipeline.store.database.pool import Connections


@dataclass(frozen=True, slots=True)
class MacroRow:
    """A stored series and the state of its collection; times are UTC. See the comments of ``market.macro_series``."""

    series_id: str
    name: str
    zone: str
    active: bool
    title: str
    units: str
    frequency: str
    seasonal_adjustment: str
    release_id: int | None
    release_name: str | None
    has_vintages: bool | None
    last_updated: datetime | None
    calendar_at: datetime | None
    looked_at: datetime | None
    collected_at: datetime | None
    attempts: int
    next_attempt: datetime | None
    problem: str | None

    @property
    def percent(self) -> bool:
        """The values are percentages: differences of them are compared, not fractions."""
        return "percent" in self.units.lower()


_SERIES = """
SELECT series_id, name, zone, active, title, units, frequency, seasonal_adjustment, release_id, release_name,
       has_vintages, last_updated, calendar_at, looked_at, collected_at, attempts, next_attempt, problem
FROM market.macro_series WHERE active OR NOT %(active_only)s ORDER BY name"""

#: Without ``as_of`` no replaced row is read.
_OBSERVATIONS = """
SELECT %(name)s::text, period, value, vintage_start, vintage_end, available_at, basis
FROM market.macro_observations
WHERE series_id = %(series_id)s AND period >= %(start)s AND period < %(end)s
  AND (%(as_of)s::timestamptz IS NULL OR available_at <= %(as_of)s)
  AND (NOT %(newest)s OR vintage_end IS NULL)
UNION ALL
SELECT %(name)s::text, period, value, vintage_start, vintage_end, available_at, basis
FROM market.macro_replaced
WHERE series_id = %(series_id)s AND period >= %(start)s AND period < %(end)s
  AND available_at <= %(as_of)s AND replaced_at > %(as_of)s"""


class MacroReads:
    """Reads ``market.macro_series`` and ``market.macro_observations``. Thread-safe."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def series(self, *, active_only: bool = True) -> list[MacroRow]:
        """The series that are collected (or also those that were), by name."""

        def read(connection: Connection[Any]) -> list[MacroRow]:
            with connection.cursor(row_factory=class_row(MacroRow)) as cursor:
                return cursor.execute(_SERIES, {"active_only": active_only}).fetchall()

        return self._connections.run(read)

    def find(self, name: str) -> MacroRow:
        """The stored series called ``name``, or with this id, whatever its capitals. Raises UnknownNameError."""
        rows = self.series(active_only=False)
        asked = name.strip().upper()
        for row in rows:
            if asked in (row.name, row.series_id):
                return row
        names = [row.name for row in rows]
        hint = did_you_mean(near_names(name, names)) or (
            f"there are {', '.join(names)}" if names else "no macro series is collected"
        )
        raise UnknownNameError(
            f"unknown macro series {name!r}: {hint}; CRYPTO_PIPELINE_MACRO_SERIES says which are collected"
        )

    def observations(
        self,
        series: MacroRow,
        start: date | None = None,
        end: date | None = None,
        *,
        as_of: datetime | None = None,
        prints: Prints = "latest",
    ) -> pl.DataFrame:
        """Observations of periods that begin in ``[start, end)``, in OBSERVATION_SCHEMA, by period and vintage.

        ``as_of``: only values that were public by then. ``prints``: see ``select_prints``.
        """
        asked = {
            "name": series.name, "series_id": series.series_id, "start": start or date.min, "end": end or date.max,
            "as_of": as_of, "newest": as_of is None and prints == "latest",
        }  # fmt: skip

        def read(connection: Connection[Any]) -> list[tuple[Any, ...]]:
            return connection.execute(_OBSERVATIONS, asked).fetchall()

        rows = pl.DataFrame(self._connections.run(read), schema=OBSERVATION_SCHEMA, orient="row")
        return select_prints(rows if as_of is None else known_at(rows, as_of, series.zone), prints)
