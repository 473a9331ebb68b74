"""Read-only queries for the checks of stored bars, one query per check over a span."""

# ruff: noqa: S608  (queries are put together from constants; values are parameters)

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import polars as pl

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.calendars import ALWAYS, get_calendar
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.pool import Connections

#: Weeks of 1m bars that one statement reads, and as many times more of a wider timeframe. A role of an application
#: usually has a limit on the time of statements.
WEEKS = 2
_MOST = 1_000
_SPAN = "o.timeframe = $1 AND o.open_time >= $2::timestamptz AND o.open_time < $3::timestamptz"


class Audit:
    """Reads for checks. All spans are half-open and in UTC; symbols are canonical names."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def activity(self, timeframe: Timeframe, start: datetime, end: datetime) -> pl.DataFrame:
        """Number of instruments with a bar (``instruments``) at each ``open_time``. Times without bars have no row."""
        query = f"SELECT o.open_time, count(*)::int AS instruments FROM market.ohlc_data o WHERE {_SPAN} GROUP BY 1"
        return pl.concat(self._frame(query, timeframe, *piece) for piece in _pieces(timeframe, start, end))

    def insane_bars(self, timeframe: Timeframe, start: datetime, end: datetime) -> pl.DataFrame:
        """Bars that break a rule of sanity: ``instrument``, ``open_time``, ``reason``; at most 1,000."""
        query = f"""
            SELECT i.symbol AS instrument, o.open_time, CASE
                WHEN NOT (o.low <= o.open AND o.low <= o.close AND o.low <= o.high) THEN 'low above another price'
                WHEN NOT (o.high >= o.open AND o.high >= o.close) THEN 'high below another price'
                WHEN o.low <= 0 THEN 'price not above zero'
                WHEN o.volume < 0 OR o.quote_volume < 0 THEN 'negative volume'
                WHEN o.high = 'NaN' OR o.volume = 'NaN' OR o.high = 'Infinity' THEN 'not a finite number'
                ELSE 'taker volume above volume' END AS reason
            FROM market.ohlc_data o JOIN market.instruments i USING (instrument_id)
            WHERE {_SPAN} AND i.active AND NOT (
                o.low <= o.open AND o.low <= o.close AND o.high >= o.open AND o.high >= o.close AND o.low > 0
                AND o.high < 'Infinity' AND o.volume >= 0 AND o.volume < 'Infinity'
                AND coalesce(o.quote_volume, 0) >= 0 AND coalesce(o.taker_buy_volume, 0) <= o.volume * (1 + 1e-9))
            ORDER BY 1, 2 LIMIT {_MOST}"""
        parts = [self._frame(query, timeframe, *piece) for piece in _pieces(timeframe, start, end)]
        return pl.concat(parts).sort("instrument", "open_time").head(_MOST)

    def silent_minutes(self, start: datetime, end: datetime) -> pl.DataFrame:
        """1m bars without volume: ``instrument``, ``open_time``, ``flat`` (at the previous minute's close), in order.

        If the previous minute has no bar, only the bar itself must be flat.
        """
        query = f"""
            SELECT i.symbol AS instrument, w.open_time, w.high = w.low AND coalesce(w.open = w.before, true) AS flat
            FROM (
                SELECT o.instrument_id, o.open_time, o.open, o.high, o.low, o.volume, CASE
                    WHEN lag(o.open_time) OVER series = o.open_time - interval '1 minute'
                    THEN lag(o.close) OVER series END AS before
                FROM market.ohlc_data o
                WHERE {_SPAN}
                WINDOW series AS (PARTITION BY o.instrument_id ORDER BY o.open_time)) w
            JOIN market.instruments i USING (instrument_id)
            WHERE w.volume = 0 AND w.open_time >= $4::timestamptz"""
        parts = [
            # a piece needs the minute before it
            self._frame(query, Timeframe.M1, max(start, begin - Timeframe.M1.delta), until, begin)
            for begin, until in _pieces(Timeframe.M1, start, end)
        ]
        return pl.concat(parts).sort("instrument", "open_time")

    def future_bars(self, timeframe: Timeframe, now: datetime) -> pl.DataFrame:
        """Complete bars that have not ended at ``now``: ``instrument``, ``open_time``; at most 1,000."""
        return self._frame(
            """
            SELECT i.symbol AS instrument, o.open_time
            FROM market.ohlc_data o JOIN market.instruments i USING (instrument_id)
            WHERE o.timeframe = $1 AND o.open_time > $2::timestamptz AND o.complete AND i.active
            ORDER BY 1, 2 LIMIT 1000""",
            timeframe, now - timeframe.delta,
        )  # fmt: skip

    def volume_conservation(
        self, timeframe: Timeframe, lower: Timeframe, start: datetime, end: datetime, tolerance: float = 1e-9
    ) -> pl.DataFrame:
        """Days on which the volume of rolled-up bars differs from that of the lower bars of the same windows.

        Only rolled-up windows count. Of an instrument with sessions only windows and lower bars that touch one count: a
        wider bar of the session leaves out the extended hours, which have lower bars of their own. Columns
        ``instrument``, ``day``, ``rolled``, ``below`` (volumes); at most 1,000 of each calendar.
        """
        parts = [
            self._conservation(timeframe, lower, *piece, tolerance)  # of the lower bars there are more
            for piece in _pieces(lower, start, end)
        ]
        return pl.concat(parts).sort("instrument", "day")

    def _conservation(
        self, timeframe: Timeframe, lower: Timeframe, start: datetime, end: datetime, tolerance: float
    ) -> pl.DataFrame:
        rows = self._connections.rows("SELECT DISTINCT calendar FROM market.instruments WHERE active ORDER BY 1")
        names = [name for (name,) in rows if name != ALWAYS.name]
        # without sessions there is nothing to look up for each bar
        parts = [self._conserved(timeframe, lower, start, end, tolerance, "", f"i.calendar = '{ALWAYS.name}'")]
        for name in names:
            windows = [(each, *span) for each in (timeframe, lower) for span in _by_day(name, each, start, end)]
            if windows:
                values = ", ".join(
                    f"('{each}', '{begin.isoformat()}'::timestamptz, '{over.isoformat()}'::timestamptz)"
                    for each, begin, over in windows
                )
                within = f"""
                JOIN (VALUES {values}) AS s (timeframe, begins, ends) ON s.timeframe = o.timeframe
                AND (s.begins AT TIME ZONE 'UTC')::date = (o.open_time AT TIME ZONE 'UTC')::date
                AND o.open_time >= s.begins AND o.open_time < s.ends"""
                parts.append(self._conserved(timeframe, lower, start, end, tolerance, within, "i.calendar = $6", name))
        return pl.concat(parts)

    def _conserved(
        self, timeframe: Timeframe, lower: Timeframe, start: datetime, end: datetime, tolerance: float,
        within: str, which: str, *more: str,
    ) -> pl.DataFrame:  # fmt: skip
        """See ``volume_conservation``: of the instruments ``which``, of bars that join ``within``."""
        width = f"'{timeframe.minutes} minutes'::interval"
        # Both sides in one pass and one aggregation: the plan of a join depends on statistics, which a newly filled
        # table does not have.
        return self._frame(
            f"""
            SELECT i.symbol AS instrument, (w.open_time AT TIME ZONE 'UTC')::date AS day,
                   sum(w.rolled) AS rolled, sum(coalesce(w.below, 0)) AS below
            FROM (
                SELECT o.instrument_id, date_bin({width}, o.open_time, '1970-01-05Z') AS open_time,
                       sum(o.volume) FILTER (WHERE o.timeframe = $1 AND o.source_rank = 20) AS rolled,
                       sum(o.volume) FILTER (WHERE o.timeframe = $4) AS below
                FROM market.ohlc_data o {within}
                WHERE o.timeframe IN ($1, $4) AND o.open_time >= $2::timestamptz AND o.open_time < $3::timestamptz
                GROUP BY 1, 2) w
            JOIN market.instruments i USING (instrument_id)
            WHERE w.rolled IS NOT NULL AND i.active AND {which}
            GROUP BY 1, 2
            HAVING abs(sum(w.rolled) - sum(coalesce(w.below, 0))) > $5 * greatest(sum(w.rolled), 1e-12)
            ORDER BY 1, 2 LIMIT 1000""",
            timeframe, start, end, str(lower), tolerance, *more,
        )  # fmt: skip

    def newest(self, timeframe: Timeframe) -> pl.DataFrame:
        """Open time of the newest complete bar of every active instrument: ``instrument``, ``open_time`` (or null)."""
        return self._frame(
            """
            SELECT i.symbol AS instrument, n.open_time FROM market.instruments i
            LEFT JOIN LATERAL (
                SELECT o.open_time FROM market.ohlc_data o
                WHERE o.instrument_id = i.instrument_id AND o.timeframe = $1 AND o.complete
                ORDER BY o.open_time DESC LIMIT 1) n ON true
            WHERE i.active ORDER BY 1""",
            timeframe,
        )  # fmt: skip

    def _frame(self, query: str, timeframe: Timeframe, *parameters: object) -> pl.DataFrame:
        sent = [p.isoformat() if isinstance(p, datetime) else p for p in parameters]
        frame = self._connections.frame(query, [str(timeframe), *sent])
        return frame.cast({"open_time": UTC_MS}) if "open_time" in frame.columns else frame


def _pieces(timeframe: Timeframe, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The span, cut on Mondays, which begin a bar of every timeframe. One piece at least."""
    width = timedelta(weeks=WEEKS * timeframe.minutes)
    until = min(end, Timeframe.W1.floor(start) + width)
    yield start, until
    while until < end:
        start, until = until, min(end, until + width)
        yield start, until


def _by_day(calendar: str, timeframe: Timeframe, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """The spans in which windows of a timeframe that touch a session open, cut at midnights (UTC)."""
    found = []
    for begin, over in get_calendar(calendar).spans(timeframe, start, end):
        while begin < over:
            until = min(over, Timeframe.D1.floor(begin) + Timeframe.D1.delta)
            found.append((begin, until))
            begin = until
    return found
