"""Forecasts: ``research.forecast_fits``, ``research.forecasts`` and their scores.

A forecast is stored as it was published, once per series, horizon and moment, and scored once after its last target.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
import psycopg
from psycopg.rows import class_row

from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.database.values import json_text


@dataclass(frozen=True, slots=True)
class NewFit:
    """A fit to be stored. ``series`` is the name of an instrument, or of a macro series; ``fit`` is JSON."""

    series: str
    horizon: str
    fitted_to: datetime
    model: str
    fit: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FitRow:
    """The newest fit of a series and horizon."""

    fit_id: int
    series: str
    horizon: str
    fitted_to: datetime
    made_at: datetime
    model: str
    fit: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewForecast:
    """A forecast to be published; see the comments of ``research.forecasts``."""

    series: str
    horizon: str
    moment: datetime
    fit_id: int
    anchor: float
    model: str
    direction: str
    targets: list[datetime]
    quantiles: list[float]
    naive: list[float] | None


@dataclass(frozen=True, slots=True)
class ForecastRow:
    """A published forecast, with the reason for its model; see the comments of ``research.forecasts``."""

    forecast_id: int
    series: str
    horizon: str
    moment: datetime
    made_at: datetime
    anchor: float
    model: str
    direction: str
    targets: list[datetime]
    quantiles: list[float]
    naive: list[float] | None
    asset_class: str
    in_percent: bool
    why: str


@dataclass(frozen=True, slots=True)
class NewScore:
    """What came of a forecast, by step; None where no bar came."""

    forecast_id: int
    seen: list[float | None]
    pinball: list[float | None]
    naive_pinball: list[float | None]
    inside_80: list[bool | None]
    inside_95: list[bool | None]


# A name is an instrument's or a macro series'; an instrument's comes first.
_OWNER = """
LEFT JOIN market.instruments i ON i.symbol = n.series
LEFT JOIN market.macro_series m ON i.instrument_id IS NULL AND m.name = n.series
WHERE num_nonnulls(i.instrument_id, m.series_id) = 1
"""
_ADD_FIT = f"""
INSERT INTO research.forecast_fits (instrument_id, series_id, horizon, fitted_to, model, fit, digest)
SELECT i.instrument_id, m.series_id, %(horizon)s, %(fitted_to)s, %(model)s, %(fit)s::jsonb, %(digest)s
FROM (SELECT %(series)s::text AS series) n {_OWNER}
ON CONFLICT DO NOTHING"""  # noqa: S608  (text of ours)
_PUBLISH = f"""
INSERT INTO research.forecasts
    (instrument_id, series_id, horizon, moment, expires, fit_id, anchor, model, direction, targets, quantiles, naive)
SELECT i.instrument_id, m.series_id, %(horizon)s, %(moment)s, %(expires)s, %(fit_id)s, %(anchor)s, %(model)s,
       %(direction)s, %(targets)s, %(quantiles)s, %(naive)s
FROM (SELECT %(series)s::text AS series) n {_OWNER}
ON CONFLICT (instrument_id, series_id, horizon, moment) DO NOTHING"""  # noqa: S608  (text of ours)
_FITS = """
SELECT DISTINCT ON (f.instrument_id, f.series_id, f.horizon)
       f.fit_id, coalesce(i.symbol, m.name) AS series, f.horizon, f.fitted_to, f.made_at, f.model, f.fit
FROM research.forecast_fits f
LEFT JOIN market.instruments i USING (instrument_id)
LEFT JOIN market.macro_series m USING (series_id)
WHERE (i.active OR m.active) AND f.horizon = ANY(%(horizons)s) AND f.fitted_to > %(since)s
ORDER BY f.instrument_id, f.series_id, f.horizon, f.fitted_to DESC, f.fit_id DESC"""
_COLUMNS = """
SELECT f.forecast_id, coalesce(i.symbol, m.name) AS series, f.horizon, f.moment, f.made_at, f.anchor, f.model,
       f.direction, f.targets, f.quantiles, f.naive, coalesce(i.asset_class, 'macro') AS asset_class,
       coalesce(m.units ILIKE '%%percent%%', false) AS in_percent, coalesce(t.fit ->> 'why', '') AS why
"""
_NAMES = """
JOIN research.forecast_fits t USING (fit_id)
LEFT JOIN market.instruments i ON i.instrument_id = f.instrument_id
LEFT JOIN market.macro_series m ON m.series_id = f.series_id
"""
# One descent of the index per series and horizon, however many forecasts there are.
_ONE = """
SELECT n.* FROM market.{table} o CROSS JOIN unnest(%(horizons)s::text[]) AS h (horizon)
CROSS JOIN LATERAL (
    SELECT * FROM research.forecasts
    WHERE {key} = o.{key} AND {other} IS NULL AND horizon = h.horizon AND moment > %(since)s
    ORDER BY moment DESC LIMIT 1
) AS n
WHERE o.{name} = ANY(%(series)s)
"""
_NEWEST = (
    _COLUMNS
    + "FROM ("
    + _ONE.format(table="instruments", key="instrument_id", other="series_id", name="symbol")
    + "UNION ALL"
    + _ONE.format(table="macro_series", key="series_id", other="instrument_id", name="name")
    + ") AS f"
    + _NAMES
)
_EXPIRED = (
    _COLUMNS
    + "FROM research.forecasts f"
    + _NAMES
    + """
WHERE f.horizon = %(horizon)s AND f.expires <= %(before)s AND f.forecast_id > %(after)s AND NOT EXISTS (
    SELECT FROM research.forecast_scores s WHERE s.forecast_id = f.forecast_id)
ORDER BY f.forecast_id LIMIT %(most)s"""
)
_SCORE = """
INSERT INTO research.forecast_scores (forecast_id, seen, pinball, naive_pinball, inside_80, inside_95)
VALUES (%(forecast_id)s, %(seen)s, %(pinball)s, %(naive_pinball)s, %(inside_80)s, %(inside_95)s)
ON CONFLICT (forecast_id) DO NOTHING"""

_WITH_BARS = """
SELECT i.symbol FROM market.coverage c JOIN market.instruments i USING (instrument_id)
WHERE i.active AND c.timeframe = %s GROUP BY i.symbol HAVING sum(c.present) >= %s ORDER BY i.symbol"""
_ACCURACY = "SELECT * FROM research.forecast_accuracy ORDER BY horizon, step"
_BY_MOMENT = """
SELECT f.horizon, f.moment, count(o.seen) AS steps,
       avg(o.inside_80::int)::float8 AS coverage_80, avg(o.inside_95::int)::float8 AS coverage_95,
       avg(o.pinball)::float8 AS pinball, avg(o.naive_pinball)::float8 AS naive_pinball
FROM research.forecast_scores s
JOIN research.forecasts f USING (forecast_id)
CROSS JOIN LATERAL unnest(s.seen, s.pinball, s.naive_pinball, s.inside_80, s.inside_95)
    AS o (seen, pinball, naive_pinball, inside_80, inside_95)
WHERE f.moment > %(since)s AND o.seen IS NOT NULL
GROUP BY f.horizon, f.moment ORDER BY f.horizon, f.moment"""
#: Schema of ``accuracy``.
ACCURACY_SCHEMA: dict[str, pl.DataType] = {
    "horizon": pl.String(), "step": pl.Int64(), "forecasts": pl.Int64(), "coverage_80": pl.Float64(),
    "coverage_95": pl.Float64(), "pinball": pl.Float64(), "naive_pinball": pl.Float64(),
}  # fmt: skip
#: Schema of ``scores_by_moment``.
MOMENT_SCHEMA: dict[str, pl.DataType] = {
    "horizon": pl.String(), "moment": pl.Datetime("us", "UTC"), "steps": pl.Int64(), "coverage_80": pl.Float64(),
    "coverage_95": pl.Float64(), "pinball": pl.Float64(), "naive_pinball": pl.Float64(),
}  # fmt: skip


class Forecasts:
    """Reads and writes fits, forecasts and scores. Thread-safe; every write is one transaction that may be repeated."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def add_fits(self, fits: Sequence[NewFit]) -> int:
        """Store fits; one that is stored already is left as it is. Returns how many are new."""
        rows = []
        for one in fits:
            text = json_text(dict(one.fit))
            digest = hashlib.sha256(text.encode()).hexdigest()[:16]
            rows.append(
                {
                    "series": one.series, "horizon": one.horizon, "fitted_to": one.fitted_to, "model": one.model,
                    "fit": text, "digest": digest,
                }
            )  # fmt: skip
        return self._connections.run(_many, _ADD_FIT, rows)

    def version(self) -> int:
        """A number that rises with every fit that is stored."""
        return int(self._connections.row("SELECT coalesce(max(fit_id), 0) FROM research.forecast_fits")[0])

    def with_bars(self, timeframe: str, least: int) -> list[str]:
        """Names of the collected instruments that have at least so many bars of a timeframe, archived ones included."""
        return [name for (name,) in self._connections.rows(_WITH_BARS, [timeframe, least])]

    def fits(self, horizons: Sequence[str], since: datetime) -> list[FitRow]:
        """The newest fit of every collected series and horizon that was fitted to a close after ``since``."""

        def read(connection: psycopg.Connection[Any]) -> list[FitRow]:
            with connection.cursor(row_factory=class_row(FitRow)) as cursor:
                return cursor.execute(_FITS, {"horizons": list(horizons), "since": since}).fetchall()

        return self._connections.run(read)

    def publish(self, forecasts: Sequence[NewForecast]) -> int:
        """Publish forecasts; one of the same series, horizon and moment stays. Returns how many are new."""
        rows = [
            {
                "series": one.series, "horizon": one.horizon, "moment": one.moment, "expires": max(one.targets),
                "fit_id": one.fit_id, "anchor": one.anchor, "model": one.model, "direction": one.direction,
                "targets": one.targets, "quantiles": one.quantiles, "naive": one.naive,
            }
            for one in forecasts
        ]  # fmt: skip
        return self._connections.run(_many, _PUBLISH, rows)

    def newest(self, series: Sequence[str], horizons: Sequence[str], since: datetime) -> list[ForecastRow]:
        """The newest forecast of each of these series and horizons whose moment is after ``since``."""
        values = {"series": list(series), "horizons": list(horizons), "since": since}
        return self._connections.run(_forecasts, _NEWEST, values)

    def expired(self, horizon: str, before: datetime, after: int, most: int) -> list[ForecastRow]:
        """Forecasts without a score whose last target is not after ``before``: up to ``most`` with ids above ``after``,
        in their order.
        """
        values = {"horizon": horizon, "before": before, "after": after, "most": most}
        return self._connections.run(_forecasts, _EXPIRED, values)

    def add_scores(self, scores: Sequence[NewScore]) -> int:
        """Store scores; a forecast that has one keeps it. Returns how many are new."""
        rows = [
            {
                "forecast_id": one.forecast_id, "seen": one.seen, "pinball": one.pinball,
                "naive_pinball": one.naive_pinball, "inside_80": one.inside_80, "inside_95": one.inside_95,
            }
            for one in scores
        ]  # fmt: skip
        return self._connections.run(_many, _SCORE, rows)

    def accuracy(self) -> pl.DataFrame:
        """Coverage and pinball loss of all scored forecasts by horizon and step, in ACCURACY_SCHEMA."""
        return self._frame(_ACCURACY, {}, ACCURACY_SCHEMA)

    def scores_by_moment(self, since: datetime) -> pl.DataFrame:
        """The same by horizon and moment of publication, over all series and steps, for moments after ``since``, in
        MOMENT_SCHEMA.
        """
        return self._frame(_BY_MOMENT, {"since": since}, MOMENT_SCHEMA)

    def _frame(self, query: str, values: Mapping[str, Any], schema: dict[str, pl.DataType]) -> pl.DataFrame:
        def read(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
            return connection.execute(query, values).fetchall()

        rows = self._connections.run(read)
        return pl.DataFrame(rows, schema=schema, orient="row")


def _forecasts(connection: psycopg.Connection[Any], query: str, values: Mapping[str, Any]) -> list[ForecastRow]:
    with connection.cursor(row_factory=class_row(ForecastRow)) as cursor:
        return cursor.execute(query, values).fetchall()


def _many(connection: psycopg.Connection[Any], statement: str, rows: Sequence[Mapping[str, Any]]) -> int:
    if not rows:
        return 0
    with connection.cursor() as cursor:
        cursor.executemany(statement, rows)
        return cursor.rowcount
