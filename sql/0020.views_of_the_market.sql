-- The views end at the market's now, not at the database's: a deployment over a recording shows its last day, too.
-- depends: 0019.bars_apart

-- A materialized view cannot be given another query, so the three are made again. What a person hung on them (views,
-- indexes, grants) is noted and made again afterwards; where it is of another kind, PostgreSQL refuses and names it.
CREATE TEMPORARY TABLE hung_on ON COMMIT DROP AS
WITH RECURSIVE above AS (
    SELECT o::oid AS oid, 0 AS level
    FROM unnest(ARRAY['market.ohlc_today', 'market.ohlc_recent', 'market.instrument_summary']::regclass[]) AS o
    UNION
    SELECT r.ev_class, a.level + 1
    FROM above a
    JOIN pg_depend d ON d.refobjid = a.oid AND d.refclassid = 'pg_class'::regclass
                    AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> a.oid
)
SELECT c.oid, max(a.level) AS level, format('%I.%I', n.nspname, c.relname) AS name,
       CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind, ARRAY[]::text[] AS made_again
FROM above a JOIN pg_class c ON c.oid = a.oid JOIN pg_namespace n ON n.oid = c.relnamespace
GROUP BY c.oid, n.nspname;

UPDATE hung_on h SET made_again = ARRAY(
    SELECT statement FROM (
        SELECT 1 AS turn, format('CREATE %s %s%s AS %s', h.kind, h.name,
                                 ' WITH (' || array_to_string(c.reloptions, ', ') || ')', pg_get_viewdef(c.oid))
        FROM pg_class c WHERE c.oid = h.oid AND h.level > 0
        UNION ALL
        SELECT 2, pg_get_indexdef(x.indexrelid) FROM pg_index x
        WHERE x.indrelid = h.oid AND (h.level > 0 OR x.indexrelid <> (h.name || '_key')::regclass)
        UNION ALL
        SELECT 3, format('COMMENT ON %s %s IS %L', h.kind, h.name, obj_description(h.oid, 'pg_class'))
        WHERE h.level > 0 AND obj_description(h.oid, 'pg_class') IS NOT NULL
        UNION ALL
        SELECT 4, format('ALTER %s %s OWNER TO %I', h.kind, h.name, pg_get_userbyid(c.relowner))
        FROM pg_class c WHERE c.oid = h.oid AND h.level > 0
        UNION ALL
        SELECT 5, format('GRANT %s%s ON %s TO %s%s', g.privilege_type, ' (' || quote_ident(g.attname) || ')', h.name,
                         CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
                         CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
        FROM (SELECT NULL::name AS attname, e.*, c.relowner FROM pg_class c CROSS JOIN aclexplode(c.relacl) AS e
              WHERE c.oid = h.oid
              UNION ALL
              SELECT a.attname, e.*, c.relowner FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
              CROSS JOIN aclexplode(a.attacl) AS e WHERE c.oid = h.oid) AS g
        WHERE g.grantee <> g.relowner
    ) AS s (turn, statement) ORDER BY turn);

-- The outermost first, and none with CASCADE: what is not noted must not vanish.
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT kind, name FROM hung_on ORDER BY level DESC LOOP
        EXECUTE format('DROP %s %s', one.kind, one.name);
    END LOOP;
END
$$;

-- (SELECT market.now()): asked once for the whole query.
-- The key's order serves the reading (a range of the key per series, no scan of a month) and leaves the rows of a
-- series side by side. OFFSET 0 keeps the planner from making a join of it.
CREATE MATERIALIZED VIEW market.ohlc_today AS
SELECT i.symbol, o.timeframe, o.open_time, o.open, o.high, o.low, o.close, o.volume, o.quote_volume,
       CASE WHEN o.volume > 0 THEN o.quote_volume / o.volume END AS vwap,
       o.taker_buy_volume, o.trade_count, s.name AS source, o.complete, o.revision, o.recorded_at
FROM (SELECT instrument_id, symbol FROM market.instruments ORDER BY symbol) i
CROSS JOIN unnest(ARRAY['15m', '1d', '1h', '1m', '1w', '30m', '4h', '5m']) AS t (timeframe)
CROSS JOIN LATERAL (
    SELECT * FROM market.ohlc_data b
    WHERE b.instrument_id = i.instrument_id AND b.timeframe = t.timeframe
      AND b.open_time >= (SELECT market.now()) - interval '24 hours'
    ORDER BY b.open_time OFFSET 0
) AS o
JOIN market.bar_sources s USING (source_rank);
CREATE UNIQUE INDEX ohlc_today_key ON market.ohlc_today (symbol, timeframe, open_time);
COMMENT ON MATERIALIZED VIEW market.ohlc_today IS
    'Bars of the last 24 hours with the names of instrument and source; as old as ops.view_refreshes says';

CREATE MATERIALIZED VIEW market.ohlc_recent AS
SELECT i.symbol, o.timeframe, o.open_time, o.open, o.high, o.low, o.close, o.volume, o.quote_volume,
       CASE WHEN o.volume > 0 THEN o.quote_volume / o.volume END AS vwap,
       o.taker_buy_volume, o.trade_count, s.name AS source, o.complete, o.revision, o.recorded_at
FROM (SELECT instrument_id, symbol FROM market.instruments ORDER BY symbol) i
CROSS JOIN unnest(ARRAY['15m', '1d', '1h', '1m', '1w', '30m', '4h', '5m']) AS t (timeframe)
CROSS JOIN LATERAL (
    SELECT * FROM market.ohlc_data b
    WHERE b.instrument_id = i.instrument_id AND b.timeframe = t.timeframe
      AND b.open_time >= (SELECT market.now()) - interval '7 days'
    ORDER BY b.open_time OFFSET 0
) AS o
JOIN market.bar_sources s USING (source_rank);
CREATE UNIQUE INDEX ohlc_recent_key ON market.ohlc_recent (symbol, timeframe, open_time);
COMMENT ON MATERIALIZED VIEW market.ohlc_recent IS
    'Bars of the last 7 days with the names of instrument and source; as old as ops.view_refreshes says';

CREATE MATERIALIZED VIEW market.instrument_summary AS
SELECT i.symbol, i.asset_class, i.tier, i.active,
       d.newest AS last_open_time, d.last_price, d.last_price / nullif(b.close, 0) - 1 AS change_24h,
       d.high_24h, d.low_24h, d.high_24h / nullif(d.low_24h, 0) - 1 AS range_24h,
       d.volume_24h, d.quote_volume_24h, d.trade_count_24h, d.bars_24h,
       c.coverage_7d, c.missing_7d, c.first_day, c.bars
FROM (SELECT * FROM market.instruments ORDER BY symbol) i
CROSS JOIN LATERAL (
    SELECT max(o.open_time) AS newest, (array_agg(o.close ORDER BY o.open_time DESC))[1] AS last_price,
           max(o.high) AS high_24h, min(o.low) AS low_24h, sum(o.volume) AS volume_24h,
           sum(o.quote_volume) AS quote_volume_24h, sum(o.trade_count)::bigint AS trade_count_24h,
           count(*)::int AS bars_24h
    FROM market.ohlc_data o
    WHERE o.instrument_id = i.instrument_id AND o.timeframe = '1m' AND o.open_time >= (SELECT market.now()) - interval '24 hours'
) AS d
-- The price of 24 hours ago, not older than one hour more: else there is no change to state.
LEFT JOIN LATERAL (
    SELECT o.close FROM market.ohlc_data o
    WHERE o.instrument_id = i.instrument_id AND o.timeframe = '1m'
      AND o.open_time >= (SELECT market.now()) - interval '25 hours' AND o.open_time < (SELECT market.now()) - interval '24 hours'
    ORDER BY o.open_time DESC LIMIT 1
) AS b ON true
LEFT JOIN LATERAL (
    SELECT sum(least(v.present + v.explained, v.expected)) FILTER (WHERE v.day >= k.since)::float8
               / nullif(sum(v.expected) FILTER (WHERE v.day >= k.since), 0) AS coverage_7d,
           sum(greatest(v.expected - v.present - v.explained, 0)) FILTER (WHERE v.day >= k.since)::bigint AS missing_7d,
           min(v.day) FILTER (WHERE v.present > 0) AS first_day,
           sum(v.present)::bigint AS bars
    FROM market.coverage v, (SELECT (market.now() AT TIME ZONE 'UTC')::date - 6 AS since) AS k
    WHERE v.instrument_id = i.instrument_id AND v.timeframe = '1m'
) AS c ON true;
CREATE UNIQUE INDEX instrument_summary_key ON market.instrument_summary (symbol);
COMMENT ON MATERIALIZED VIEW market.instrument_summary IS
    'Per instrument what its 1m bars say of the last 24 hours and its coverage; as old as ops.view_refreshes says';
COMMENT ON COLUMN market.instrument_summary.last_price IS 'Close of the newest 1m bar of the last 24 hours';
COMMENT ON COLUMN market.instrument_summary.change_24h IS 'Fraction: last_price against the close 24 hours before the refresh';
COMMENT ON COLUMN market.instrument_summary.range_24h IS 'Fraction: highest against lowest price';
COMMENT ON COLUMN market.instrument_summary.coverage_7d IS
    'Share of the expected 1m bars of the last 7 UTC days (the running one included) that is present or explained';
COMMENT ON COLUMN market.instrument_summary.first_day IS 'First UTC day with 1m bars, archive included';
COMMENT ON COLUMN market.instrument_summary.bars IS '1m bars stored, archive included';

DO $$
DECLARE
    one record;
    each text;
BEGIN
    FOR one IN SELECT made_again FROM hung_on ORDER BY level LOOP
        FOREACH each IN ARRAY one.made_again LOOP
            EXECUTE each;
        END LOOP;
    END LOOP;
END
$$;

ALTER TABLE ops.view_refreshes ADD COLUMN market_at timestamptz NOT NULL DEFAULT market.now();
COMMENT ON COLUMN ops.view_refreshes.refreshed_at IS 'When it was refreshed, by this database''s clock';
COMMENT ON COLUMN ops.view_refreshes.market_at IS 'The market''s time at the refresh: the view''s spans end here';
UPDATE ops.view_refreshes
SET refreshed_at = now(), certain_to = NULL, possible_to = clock_timestamp(), seconds = 0, method = 'created',
    rows = CASE name WHEN 'ohlc_today' THEN (SELECT count(*) FROM market.ohlc_today)
                     WHEN 'ohlc_recent' THEN (SELECT count(*) FROM market.ohlc_recent)
                     ELSE (SELECT count(*) FROM market.instrument_summary) END,
    bytes = pg_total_relation_size(('market.' || name)::regclass)
WHERE name IN ('ohlc_today', 'ohlc_recent', 'instrument_summary');
