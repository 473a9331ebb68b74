"""Writes macro series: which are collected, every vintage of their values, and the release calendar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl
from sqlalchemy import Connection, case, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from crypto_pipeline.market.macro.series import MacroSeries
from crypto_pipeline.market.macro.vintages import (
    Availability,
    AvailabilityBasis,
    StoredVintage,
    Vintage,
    merge_vintages,
    snapshot_vintages,
    today,
)
from crypto_pipeline.store.database.frames import core_frame
from crypto_pipeline.store.macro.reads import MacroReads
from crypto_pipeline.store.schema.tables import MACRO_OBSERVATIONS, MACRO_RELEASES, MACRO_REPLACED, MACRO_SERIES

_SERIES, _ROWS = MACRO_SERIES.c, MACRO_OBSERVATIONS.c
_DAYS = MACRO_RELEASES.c
#: Characters of a problem that are kept.
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class MacroWrite:
    """The changes of a write: counts of new rows, of rows with another value or end, and of replaced rows."""

    added: int
    changed: int
    replaced: int


class Macro(MacroReads):
    """Reads and writes ``market.macro_series``, ``macro_observations`` and ``macro_releases``. Thread-safe."""

    # Which series

    def choose(self, series: Sequence[MacroSeries]) -> list[str]:
        """Collect exactly these; returns the names of those that were not collected before. Rows stay of all."""
        chosen = [one.series_id for one in series]

        def work(connection: Connection) -> list[str]:
            active = select(_SERIES.series_id).where(_SERIES.active)
            before = set(connection.scalars(active))
            connection.execute(update(MACRO_SERIES).where(_SERIES.series_id.not_in(chosen)).values(active=False))
            for one in series:
                named = {"name": one.name, "zone": one.zone}
                row = insert(MACRO_SERIES).values(series_id=one.series_id, **named)
                changed = {"active": True, **named}  # a series may have got a name of its own since
                connection.execute(row.on_conflict_do_update(index_elements=["series_id"], set_=changed))
            return [one.name for one in series if one.series_id not in before]

        return self._connections.run_core(work)

    def progress(self) -> dict[str, bool]:
        """Of each active series, by name, whether anything was ever stored; empty in a database without the tables."""

        def work(connection: Connection) -> dict[str, bool]:
            if connection.scalar(select(func.to_regclass("market.macro_series"))) is None:
                return {}  # not migrated yet
            rows = select(_SERIES.name, _SERIES.collected_at.is_not(None)).where(_SERIES.active)
            return {row[0]: row[1] for row in connection.execute(rows.order_by(_SERIES.name))}

        return self._connections.run_core(work)

    # State of a series, and the calendar

    def note(self, series_id: str, **values: Any) -> None:
        """Set columns of ``market.macro_series``."""
        statement = update(MACRO_SERIES).where(_SERIES.series_id == series_id).values(**values)
        self._connections.run_core(lambda connection: connection.execute(statement) and None)

    def failed(self, series_id: str, problem: str, now: datetime, first_pause: float, longest: float) -> None:
        """A look failed: asked again ``first_pause`` seconds after ``now``, four times as long after each failure."""
        pause = func.least(first_pause * func.power(4.0, func.least(_SERIES.attempts, 12)), longest)
        values = {
            "problem": problem[:_LONGEST].replace("\x00", ""),
            "attempts": _SERIES.attempts + 1,
            "next_attempt": literal(now, _SERIES.next_attempt.type) + func.make_interval(0, 0, 0, 0, 0, 0, pause),
        }
        self.note(series_id, **values)

    def add_release_dates(self, release_id: int, days: Iterable[date]) -> None:
        """Take over days of the release calendar; days to come that are no longer stated leave it."""
        rows = [{"release_id": release_id, "release_date": day} for day in sorted(set(days))]
        if not rows:
            return
        statement = insert(MACRO_RELEASES).on_conflict_do_nothing()
        first, last = rows[0]["release_date"], rows[-1]["release_date"]
        moved = MACRO_RELEASES.delete().where(
            _DAYS.release_id == release_id,
            _DAYS.release_date.between(first, last),
            _DAYS.release_date.not_in([row["release_date"] for row in rows]),
        )

        def work(connection: Connection) -> None:
            connection.execute(moved)
            connection.execute(statement, rows)

        self._connections.run_core(work)

    def release_dates(self, release_id: int | None) -> list[date]:
        """Days of the release calendar, past and to come."""
        if release_id is None:
            return []
        query = select(_DAYS.release_date).where(_DAYS.release_id == release_id).order_by(_DAYS.release_date)
        return self._connections.run_core(lambda connection: list(connection.scalars(query)))

    # Observations

    def vintage_days(self, series_id: str) -> set[date]:
        """First days of all stored vintages."""
        query = select(_ROWS.vintage_start).distinct().where(_ROWS.series_id == series_id)
        return self._connections.run_core(lambda connection: set(connection.scalars(query)))

    def first_prints(self, series_id: str) -> pl.DataFrame:
        """``period`` and ``vintage_start`` of the first value of every period, by period."""
        query = select(_ROWS.period, func.min(_ROWS.vintage_start)).where(_ROWS.series_id == series_id)
        grouped = query.group_by(_ROWS.period).order_by(_ROWS.period)
        return core_frame(self._connections, grouped, {"period": pl.Date(), "vintage_start": pl.Date()})

    def write(self, series_id: str, stated: Sequence[Vintage], availability: Availability, **noted: Any) -> MacroWrite:
        """Take over vintages (see ``merge_vintages``), and columns of the series, in one transaction."""

        def work(connection: Connection) -> MacroWrite:
            return _take_over(connection, series_id, stated, availability, noted)

        return self._connections.run_core(work)

    def write_snapshot(
        self, series_id: str, values: Sequence[tuple[date, float | None]], availability: Availability, **noted: Any
    ) -> MacroWrite:
        """Take over values without vintages: those that differ are known since ``availability.observed_at``."""

        def work(connection: Connection) -> MacroWrite:
            stored = _locked_rows(connection, series_id)
            changed = snapshot_vintages(stored, values, today(availability.observed_at, availability.zone))
            return _take_over(connection, series_id, changed, availability, noted, observed=True)

        return self._connections.run_core(work)

    def summary(self) -> pl.DataFrame:
        """Of each collected series ``name``, ``periods``, ``rows``, ``first_period``, ``newest_period``,
        ``newest_vintage``; by name."""
        query = (
            select(
                _SERIES.name,
                func.count(_ROWS.period.distinct()).label("periods"),
                func.count(_ROWS.period).label("rows"),
                func.min(_ROWS.period).label("first_period"),
                func.max(_ROWS.period).label("newest_period"),
                func.max(_ROWS.vintage_start).label("newest_vintage"),
            )
            .select_from(MACRO_SERIES.outerjoin(MACRO_OBSERVATIONS))
            .where(_SERIES.active)
            .group_by(_SERIES.name)
            .order_by(_SERIES.name)
        )
        schema = {
            "name": pl.String(), "periods": pl.Int64(), "rows": pl.Int64(), "first_period": pl.Date(),
            "newest_period": pl.Date(), "newest_vintage": pl.Date(),
        }  # fmt: skip
        return core_frame(self._connections, query, schema)


def _locked_rows(connection: Connection, series_id: str) -> list[StoredVintage]:
    """Every stored vintage of a series, locked until the transaction ends."""
    connection.execute(select(_SERIES.series_id).where(_SERIES.series_id == series_id).with_for_update())
    columns = (_ROWS.period, _ROWS.value, _ROWS.vintage_start, _ROWS.vintage_end, _ROWS.available_at, _ROWS.basis)
    rows = connection.execute(select(*columns).where(_ROWS.series_id == series_id))
    return [StoredVintage(Vintage(*row[:4]), row[4], AvailabilityBasis(row[5])) for row in rows]


def _take_over(
    connection: Connection,
    series_id: str,
    stated: Sequence[Vintage],
    availability: Availability,
    noted: dict[str, Any],
    *,
    observed: bool = False,
) -> MacroWrite:
    stored = _locked_rows(connection, series_id)
    changes = merge_vintages(stored, stated, availability, observed=observed)
    keys = {row.key for row in stored}
    if changes.replaced:
        replaced_at = {"replaced_at": availability.observed_at}
        connection.execute(insert(MACRO_REPLACED), [_as_row(series_id, row) | replaced_at for row in changes.replaced])
    if changes.removed:
        gone = tuple_(_ROWS.period, _ROWS.vintage_start).in_([row.key for row in changes.removed])
        connection.execute(MACRO_OBSERVATIONS.delete().where(_ROWS.series_id == series_id, gone))
    if changes.write:
        connection.execute(_put(), [_as_row(series_id, row) for row in changes.write])
    if noted:
        connection.execute(update(MACRO_SERIES).where(_SERIES.series_id == series_id).values(**noted))
    added = sum(row.key not in keys for row in changes.write)
    return MacroWrite(added, len(changes.write) - added, len(changes.replaced))


def _put() -> Any:
    """Insert a vintage, or give one the end and value that it has now; ``recorded_at`` says since when it is so."""
    statement = insert(MACRO_OBSERVATIONS)
    new = statement.excluded
    same = _ROWS.value.is_not_distinct_from(new.value)
    return statement.on_conflict_do_update(
        index_elements=["series_id", "period", "vintage_start"],
        set_={
            **{name: new[name] for name in ("vintage_end", "value", "available_at", "basis")},
            "recorded_at": case((same, _ROWS.recorded_at), else_=func.clock_timestamp()),
        },
    )


def _as_row(series_id: str, row: StoredVintage) -> dict[str, Any]:
    one = row.vintage
    return {
        "series_id": series_id, "period": one.period, "vintage_start": one.start, "vintage_end": one.end,
        "value": one.value, "available_at": row.available_at, "basis": str(row.basis),
    }  # fmt: skip
