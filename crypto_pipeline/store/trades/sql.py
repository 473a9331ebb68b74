"""SQL statements on ``market.trades``: queries, and the replacement of a stored span by a venue's answer."""

READ = """
SELECT instrument_id, trade_id, first_id, last_id, "time", price, quantity, taker_buy
FROM market.trades
WHERE instrument_id = ANY($1) AND venue_id = $2 AND "time" >= $3 AND "time" < $4
"""

LAST = """
SELECT u.i AS instrument_id, t.trade_id, t.last_id, t."time"
FROM unnest($1::int[]) AS u (i)
CROSS JOIN LATERAL (
    SELECT trade_id, last_id, "time" FROM market.trades
    WHERE instrument_id = u.i AND venue_id = $2 ORDER BY "time" DESC, trade_id DESC LIMIT 1
) AS t
"""

FIRST = """
SELECT u.i AS instrument_id, t."time"
FROM unnest($1::int[]) AS u (i)
CROSS JOIN LATERAL (
    SELECT "time" FROM market.trades
    WHERE instrument_id = u.i AND venue_id = $2 AND "time" >= $3 ORDER BY "time" LIMIT 1
) AS t
"""

# By id and not by time: a jump is between consecutive ids, and trades of one millisecond have no order in time.
MISSING = """
SELECT instrument_id, before_id + 1 AS first_missing, trade_id - 1 AS last_missing,
       before_time AS "start", "time" AS "end"
FROM (
    SELECT instrument_id, trade_id, "time",
           lag(trade_id) OVER series AS before_id, lag("time") OVER series AS before_time
    FROM market.trades
    WHERE instrument_id = ANY($1) AND venue_id = $2 AND "time" >= $3 AND "time" < $4
    WINDOW series AS (PARTITION BY instrument_id ORDER BY trade_id)
) AS neighbours
WHERE trade_id > before_id + 1
ORDER BY instrument_id, trade_id
"""

# A minute is correct if its stored trades have the number and volume of its bar, and no id is absent among them or
# between them and the previous minute's trades. An id absent there may belong to either minute.
DIFFERING = """
WITH found AS (
    SELECT instrument_id, date_bin('1 minute', "time", 'epoch') AS open_time, count(*) AS rows,
           sum(last_id - first_id + 1) AS singles, sum(quantity) AS volume, min(trade_id) AS first_id,
           max(trade_id) AS last_id
    FROM market.trades
    WHERE instrument_id = ANY($1) AND venue_id = $2 AND "time" >= $3 AND "time" < $4
    GROUP BY 1, 2
), bars AS (
    SELECT instrument_id, open_time, trade_count, volume, source_rank FROM market.ohlc_data
    WHERE instrument_id = ANY($1) AND timeframe = '1m' AND open_time >= $3 AND open_time < $4
), neighbours AS (
    SELECT instrument_id, open_time, first_id,
           lag(last_id) OVER series AS last_before, lag(open_time) OVER series AS minute_before
    FROM found WINDOW series AS (PARTITION BY instrument_id ORDER BY open_time)
), jumps AS (
    SELECT n.instrument_id, n.open_time, coalesce(n.minute_before, date_bin('1 minute', t."time", 'epoch')) AS before
    FROM neighbours n
    LEFT JOIN LATERAL (
        SELECT trade_id, "time" FROM market.trades
        WHERE n.last_before IS NULL AND instrument_id = n.instrument_id AND venue_id = $2 AND "time" < n.open_time
        ORDER BY "time" DESC, trade_id DESC LIMIT 1
    ) AS t ON true
    WHERE n.first_id <> coalesce(n.last_before, t.trade_id) + 1
), wrong AS (
    SELECT instrument_id, open_time, open_time AS back_to
    FROM bars b FULL JOIN found f USING (instrument_id, open_time)
    WHERE b.instrument_id IS NULL
       OR (f.instrument_id IS NULL AND b.volume > 0)
       OR f.last_id - f.first_id + 1 <> f.rows
       OR (b.trade_count IS NOT NULL AND f.singles <> b.trade_count)
       OR abs(f.volume - b.volume) > 1e-9 * greatest(f.volume, b.volume)
    UNION SELECT instrument_id, open_time, before FROM jumps
    UNION SELECT instrument_id, before, before FROM jumps
)
SELECT w.instrument_id, w.open_time, w.back_to, b.source_rank
FROM (SELECT instrument_id, open_time, max(back_to) AS back_to FROM wrong GROUP BY 1, 2) AS w
LEFT JOIN market.ohlc_data b
    ON b.instrument_id = w.instrument_id AND b.timeframe = '1m' AND b.open_time = w.open_time
ORDER BY 1, 2
"""

TEMPORARY = """
CREATE TEMP TABLE IF NOT EXISTS arrived_trades (LIKE market.trades) ON COMMIT {end}
"""

# Stored trades that differ from the answer: they are replaced if the venue sends other values for the id, removed if
# ids prove that only the sent trades happened at that time, and otherwise kept and recorded as contradicted.
DOUBT = """
CREATE TEMP TABLE IF NOT EXISTS doubted_trades (LIKE market.trades, reason text) ON COMMIT {end};
"""
FIND_DOUBTED = """
INSERT INTO pg_temp.doubted_trades
SELECT t.*, CASE
    WHEN EXISTS (SELECT FROM pg_temp.arrived_trades a WHERE a.trade_id = t.trade_id) THEN 'replaced'
    WHEN t.trade_id = ANY(%(also)s) THEN 'removed'
    WHEN EXISTS (
        SELECT FROM unnest(%(after)s::timestamptz[], %(before)s::timestamptz[]) AS whole (after, before)
        WHERE t."time" > whole.after AND t."time" < whole.before
    ) THEN 'removed'
    ELSE 'contradicted' END
FROM market.trades t
WHERE t.instrument_id = %(instrument)s AND t.venue_id = %(venue)s
  AND (t."time" >= %(start)s AND t."time" < %(end)s
       OR t.trade_id = ANY(%(ids)s) AND t."time" >= %(near)s AND t."time" < %(far)s)
  AND NOT EXISTS (
      SELECT FROM pg_temp.arrived_trades a
      WHERE (a.instrument_id, a."time", a.trade_id, a.first_id, a.last_id, a.price, a.quantity, a.taker_buy)
          = (t.instrument_id, t."time", t.trade_id, t.first_id, t.last_id, t.price, t.quantity, t.taker_buy)
  )
"""
# If an answer does not cover the end of its span, newer stored trades are not contradicted.
LEAVE_NEWER = """
DELETE FROM pg_temp.doubted_trades WHERE reason = 'contradicted' AND ("time" >= %(final)s OR trade_id > %(upto)s)
"""
REMOVE = """
DELETE FROM market.trades t USING pg_temp.doubted_trades d
WHERE d.reason <> 'contradicted'
  AND (t.instrument_id, t.venue_id, t."time", t.trade_id) = (d.instrument_id, d.venue_id, d."time", d.trade_id)
"""
CONTRADICTED = "SELECT count(*) FROM pg_temp.doubted_trades WHERE reason = 'contradicted'"
