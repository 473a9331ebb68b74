"""Comparison of a materialized view with the contents of its tables at the time of its refresh.

``ops.view_refreshes`` has two times per refresh: all bars recorded up to ``certain_to`` are in the view, and none
recorded after ``possible_to``; bars that were in writing are between the two. With the history of superseded copies two
statements are exact: every row of the view was current at some time between the two, and every row that was current all
the time between them is in the view.
"""

# ruff: noqa: S608  (queries are put together from constants; values are parameters)

from __future__ import annotations

from typing import Any, LiteralString

import polars as pl
import psycopg
from psycopg import sql

from crypto_pipeline.market.bars import UTC_MS
from crypto_pipeline.market.timeframes import Timeframe

SCHEMA: dict[str, pl.DataType] = {
    "instrument": pl.String(),
    "timeframe": pl.String(),
    "open_time": UTC_MS,
    "fault": pl.String(),
}
MOST = 1000
#: Relative tolerance of sums, which depend on the order of their terms.
_TOLERANCE = 1e-9

# All columns except the revision: a venue may send the same values again, which changes only the revision.
_SHARED: LiteralString = (
    "open_time, open, high, low, close, volume, quote_volume, taker_buy_volume, trade_count, complete, recorded_at"
)
#: Columns in the order of the views.
_TIMEFRAMES: LiteralString = ", ".join(sorted(f"'{each.value}'" for each in Timeframe))
_OF_VIEW: LiteralString = f"symbol, timeframe, {_SHARED}, vwap, source"

# The same key ranges as in the view's own query, with the newest state that the refresh could have seen.
_TABLE: LiteralString = f"""
SELECT i.symbol, o.timeframe, {", ".join(f"o.{name}" for name in _SHARED.split(", "))},
       CASE WHEN o.volume > 0 THEN o.quote_volume / o.volume END AS vwap, s.name AS source, o.superseded_at
FROM market.instruments i
CROSS JOIN unnest(ARRAY[{_TIMEFRAMES}]) AS t (timeframe)
CROSS JOIN LATERAL (
    SELECT timeframe, {_SHARED}, source_rank, NULL::timestamptz AS superseded_at FROM market.ohlc_data b
    WHERE b.instrument_id = i.instrument_id AND b.timeframe = t.timeframe
      AND b.open_time >= %(since)s AND b.recorded_at < %(possible)s
    UNION ALL
    SELECT timeframe, {_SHARED}, source_rank, superseded_at FROM market.ohlc_revisions b
    WHERE b.instrument_id = i.instrument_id AND b.timeframe = t.timeframe
      AND b.open_time >= %(since)s AND b.recorded_at < %(possible)s AND b.superseded_at >= %(certain)s
    OFFSET 0
) AS o
JOIN market.bar_sources s USING (source_rank)
"""

# Series with any differing row; usually none. It takes one pass without a sort.
_SUSPECTS: LiteralString = f"""
SELECT symbol, timeframe FROM (
    SELECT symbol, timeframe, count(*) AS rows, bit_xor(hash_record_extended(ROW({_OF_VIEW}), 0)) AS fingerprint
    FROM market.{{view}} GROUP BY 1, 2) AS v
FULL JOIN (
    SELECT symbol, timeframe, count(*) AS rows, bit_xor(hash_record_extended(ROW({_OF_VIEW}), 0)) AS fingerprint
    FROM ({_TABLE}) AS everything GROUP BY 1, 2) AS t USING (symbol, timeframe)
WHERE v.rows IS DISTINCT FROM t.rows OR v.fingerprint IS DISTINCT FROM t.fingerprint
"""

_DIFFERENCES: LiteralString = f"""
WITH held AS MATERIALIZED (
    SELECT * FROM ({_TABLE}) AS everything
    WHERE (symbol, timeframe) IN (SELECT * FROM unnest(%(symbols)s::text[], %(timeframes)s::text[]))
), shown AS MATERIALIZED (
    SELECT {_OF_VIEW} FROM market.{{view}}
    WHERE (symbol, timeframe) IN (SELECT * FROM unnest(%(symbols)s::text[], %(timeframes)s::text[]))
)
SELECT symbol, timeframe, open_time, 'the view has what the table never held' FROM (
    SELECT * FROM shown EXCEPT SELECT {_OF_VIEW} FROM held) AS invented
UNION ALL
SELECT symbol, timeframe, open_time, 'the view lacks what the table held' FROM (
    SELECT {_OF_VIEW} FROM held
    WHERE recorded_at < %(certain)s AND coalesce(superseded_at >= %(possible)s, true)
    EXCEPT SELECT * FROM shown) AS lacking
ORDER BY 1, 2, 3 LIMIT {MOST}
"""

# The summary from the bars at that time, computed in another way than in the view.
_SUMMARY: LiteralString = f"""
WITH held AS MATERIALIZED (
    SELECT * FROM ({_TABLE}) AS everything
    WHERE timeframe = '1m' AND (superseded_at IS NULL OR superseded_at >= %(possible)s)
), uncertain AS (
    SELECT DISTINCT symbol FROM ({_TABLE}) AS everything
    WHERE timeframe = '1m' AND (recorded_at >= %(certain)s OR superseded_at < %(possible)s)
), day AS (
    SELECT symbol, max(open_time) AS newest, max(high) AS high, min(low) AS low, sum(volume) AS volume,
           count(*) AS bars
    FROM held WHERE open_time >= %(day)s GROUP BY symbol
), before AS (
    SELECT DISTINCT ON (symbol) symbol, close FROM held WHERE open_time < %(day)s ORDER BY symbol, open_time DESC
)
SELECT v.symbol, '1m', coalesce(v.last_open_time, d.newest), CASE
    WHEN v.last_open_time IS DISTINCT FROM d.newest OR v.last_price IS DISTINCT FROM n.close THEN 'another last price'
    WHEN v.high_24h IS DISTINCT FROM d.high OR v.low_24h IS DISTINCT FROM d.low THEN 'another range'
    WHEN v.bars_24h IS DISTINCT FROM coalesce(d.bars, 0) THEN 'another number of bars'
    WHEN abs(v.volume_24h - d.volume) > {_TOLERANCE} * d.volume THEN 'another volume'
    ELSE 'another change' END
FROM market.{{view}} v
LEFT JOIN day d USING (symbol)
LEFT JOIN held n ON n.symbol = v.symbol AND n.open_time = d.newest
LEFT JOIN before b ON b.symbol = v.symbol
WHERE v.symbol NOT IN (SELECT symbol FROM uncertain) AND (
    v.last_open_time IS DISTINCT FROM d.newest OR v.last_price IS DISTINCT FROM n.close
    OR v.high_24h IS DISTINCT FROM d.high OR v.low_24h IS DISTINCT FROM d.low
    OR v.bars_24h IS DISTINCT FROM coalesce(d.bars, 0) OR abs(v.volume_24h - d.volume) > {_TOLERANCE} * d.volume
    OR abs(v.change_24h - (n.close / b.close - 1)) > {_TOLERANCE}
    OR (v.change_24h IS NULL) <> (n.close IS NULL OR b.close IS NULL))
ORDER BY 1 LIMIT {MOST}
"""


def differences(connection: psycopg.Connection[Any], view: str, span: str | None) -> pl.DataFrame:
    """Differing rows in SCHEMA. ``span`` is the view's length as an interval; None for the summary of instruments.

    Call it in one snapshot, while the view cannot be refreshed.
    """
    row = connection.execute(
        "SELECT certain_to, possible_to, market_at - %s::interval, market_at - interval '24 hours' "
        "FROM ops.view_refreshes WHERE name = %s",
        [span or "25 hours", view],
    ).fetchone()
    if row is None or row[0] is None:
        return _frame([(None, None, None, "the view was never refreshed")])
    times = dict(zip(("certain", "possible", "since", "day"), row, strict=True))
    name = sql.Identifier(view)
    if span is None:
        return _frame(connection.execute(sql.SQL(_SUMMARY).format(view=name), times).fetchall())
    suspects = connection.execute(sql.SQL(_SUSPECTS).format(view=name), times).fetchall()
    if not suspects:
        return _frame([])
    chosen = {"symbols": [symbol for symbol, _ in suspects], "timeframes": [timeframe for _, timeframe in suspects]}
    return _frame(connection.execute(sql.SQL(_DIFFERENCES).format(view=name), times | chosen).fetchall())


def _frame(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")
