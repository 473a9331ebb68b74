"""The SQL statements of the ledger."""

from __future__ import annotations

_ROWS = """
SELECT gap_id, instrument_id, timeframe, start_time AS start, end_time AS "end", bars, {state} AS state,
       evidence::text AS evidence, attempts, first_seen, last_attempt, next_attempt, closed_at, note
FROM market.gaps
WHERE {where} AND timeframe = ANY($1) AND instrument_id = ANY($2) AND {state} = ANY($3)
  AND start_time < $5 AND end_time > $4
"""
OPEN = _ROWS.format(state="state", where="closed_at IS NULL")
CLOSED = _ROWS.format(state="state", where="closed_at IS NOT NULL")
#: Rows that were open at a moment; one that is healed by now has the state that it had before.
OPEN_THEN = _ROWS.format(
    state="CASE WHEN closed_at IS NULL THEN state ELSE coalesce(evidence->>'was', state) END",
    where="first_seen <= $6 AND (closed_at IS NULL OR closed_at > $6)",
)

COUNTS = """
SELECT timeframe, state, sum(bars)::bigint AS bars FROM market.gaps JOIN market.instruments USING (instrument_id)
WHERE closed_at IS NULL AND active GROUP BY 1, 2 ORDER BY 1, 2
"""

ONE = "SELECT instrument_id, timeframe, start_time, end_time FROM market.gaps WHERE gap_id = %s"

REOPEN = """
UPDATE market.gaps
SET state = 'lost', attempts = 0, next_attempt = NULL, note = %s,
    evidence = evidence || jsonb_build_object('reopened_from', state)
WHERE gap_id = %s AND closed_at IS NULL
"""

# Indexed, because otherwise each of thousands of rows of a series would be compared with all others.
TEMPORARY = """
CREATE TEMP TABLE IF NOT EXISTS stated_gaps (
    instrument_id int, start timestamptz, "end" timestamptz, state text, evidence jsonb,
    next_attempt timestamptz, attempted boolean, note text, bars int,
    EXCLUDE USING gist (instrument_id WITH =, tstzrange(start, "end") WITH &&)
) ON COMMIT {end};
CREATE TEMP TABLE IF NOT EXISTS replaced_gaps (
    LIKE market.gaps,
    EXCLUDE USING gist (instrument_id WITH =, tstzrange(start_time, end_time) WITH &&)
) ON COMMIT {end}
"""

# A bar may have arrived since it was found absent.
LEAVE_OUT_PRESENT = """
WITH present AS (
    SELECT s.instrument_id, s.start,
           range_agg(tstzrange(b.open_time, b.open_time + %(seconds)s * interval '1 second')) AS there
    FROM pg_temp.stated_gaps s
    CROSS JOIN LATERAL (
        SELECT o.open_time FROM market.ohlc_data o
        WHERE o.instrument_id = s.instrument_id AND o.timeframe = %(timeframe)s
          AND o.open_time >= s.start AND o.open_time < s."end"
        OFFSET 0
    ) AS b
    GROUP BY s.instrument_id, s.start
), taken AS (
    DELETE FROM pg_temp.stated_gaps s USING present p
    WHERE s.instrument_id = p.instrument_id AND s.start = p.start
    RETURNING s.*, p.there
)
INSERT INTO pg_temp.stated_gaps
SELECT t.instrument_id, lower(absent.piece), upper(absent.piece), t.state, t.evidence, t.next_attempt,
       t.attempted, t.note, extract(epoch FROM upper(absent.piece) - lower(absent.piece)) / %(seconds)s
FROM taken t
CROSS JOIN LATERAL unnest(tstzmultirange(tstzrange(t.start, t."end")) - t.there) AS absent (piece)
"""

TAKE_OUT = """
WITH overlapped AS (
    SELECT DISTINCT g.gap_id
    FROM pg_temp.stated_gaps s
    JOIN market.gaps g ON g.instrument_id = s.instrument_id AND g.timeframe = %(timeframe)s AND g.closed_at IS NULL
         AND tstzrange(g.start_time, g.end_time) && tstzrange(s.start, s."end")
), taken AS (
    DELETE FROM market.gaps g USING overlapped o WHERE g.gap_id = o.gap_id RETURNING g.*
)
INSERT INTO pg_temp.replaced_gaps SELECT * FROM taken
"""

# Parts of an old row before, between or after the new spans; the first such part keeps the row's number.
PUT_BACK_REST = """
INSERT INTO market.gaps (gap_id, instrument_id, timeframe, start_time, end_time, bars, state, evidence, attempts,
                         first_seen, last_attempt, next_attempt, note)
SELECT CASE WHEN row_number() OVER (PARTITION BY r.gap_id ORDER BY lower(rest.piece)) = 1 THEN r.gap_id
            ELSE nextval(pg_get_serial_sequence('market.gaps', 'gap_id')) END,
       r.instrument_id, r.timeframe, lower(rest.piece), upper(rest.piece),
       extract(epoch FROM upper(rest.piece) - lower(rest.piece)) / %(seconds)s,
       r.state, r.evidence, r.attempts, r.first_seen, r.last_attempt, r.next_attempt, r.note
FROM pg_temp.replaced_gaps r
CROSS JOIN LATERAL (
    SELECT tstzmultirange(tstzrange(r.start_time, r.end_time)) - range_agg(tstzrange(s.start, s."end")) AS pieces
    FROM pg_temp.stated_gaps s
    WHERE s.instrument_id = r.instrument_id AND tstzrange(s.start, s."end") && tstzrange(r.start_time, r.end_time)
) AS remaining
CROSS JOIN LATERAL unnest(remaining.pieces) AS rest (piece)
"""

# A fully replaced row passes its number to the new row.
PUT_IN = """
INSERT INTO market.gaps (gap_id, instrument_id, timeframe, start_time, end_time, bars, state, evidence, attempts,
                         first_seen, last_attempt, next_attempt, note)
SELECT coalesce(was.gap_id, nextval(pg_get_serial_sequence('market.gaps', 'gap_id'))),
       s.instrument_id, %(timeframe)s, s.start, s."end", s.bars, s.state, s.evidence,
       coalesce(was.attempts, 0) + (s.attempted AND s.state = ANY(%(waiting)s))::int,
       coalesce(was.first_seen, now()), now(), s.next_attempt, coalesce(s.note, was.note)
FROM pg_temp.stated_gaps s
CROSS JOIN LATERAL (
    SELECT min(r.gap_id) FILTER (WHERE tstzrange(r.start_time, r.end_time) <@ tstzrange(s.start, s."end")) AS gap_id,
           max(r.attempts) AS attempts, min(r.first_seen) AS first_seen, max(r.note) AS note
    FROM pg_temp.replaced_gaps r
    WHERE r.instrument_id = s.instrument_id AND tstzrange(r.start_time, r.end_time) && tstzrange(s.start, s."end")
) AS was
"""
