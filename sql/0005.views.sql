-- What people and tools query by name (materialized), what is known of each refresh, and how storage grows.
-- depends: 0004.archive

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
      AND b.open_time >= now() - interval '24 hours'
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
      AND b.open_time >= now() - interval '7 days'
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
    WHERE o.instrument_id = i.instrument_id AND o.timeframe = '1m' AND o.open_time >= now() - interval '24 hours'
) AS d
-- The price of 24 hours ago, not older than one hour more: else there is no change to state.
LEFT JOIN LATERAL (
    SELECT o.close FROM market.ohlc_data o
    WHERE o.instrument_id = i.instrument_id AND o.timeframe = '1m'
      AND o.open_time >= now() - interval '25 hours' AND o.open_time < now() - interval '24 hours'
    ORDER BY o.open_time DESC LIMIT 1
) AS b ON true
LEFT JOIN LATERAL (
    SELECT sum(least(v.present + v.explained, v.expected)) FILTER (WHERE v.day >= k.since)::float8
               / nullif(sum(v.expected) FILTER (WHERE v.day >= k.since), 0) AS coverage_7d,
           sum(greatest(v.expected - v.present - v.explained, 0)) FILTER (WHERE v.day >= k.since)::bigint AS missing_7d,
           min(v.day) FILTER (WHERE v.present > 0) AS first_day,
           sum(v.present)::bigint AS bars
    FROM market.coverage v, (SELECT (now() AT TIME ZONE 'UTC')::date - 6 AS since) AS k
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

CREATE TABLE ops.view_refreshes (
    name         text PRIMARY KEY,
    refreshed_at timestamptz NOT NULL DEFAULT now(),
    certain_to   timestamptz,
    possible_to  timestamptz NOT NULL DEFAULT clock_timestamp(),
    seconds      float8 NOT NULL DEFAULT 0,
    rows         bigint NOT NULL DEFAULT 0,
    bytes        bigint NOT NULL DEFAULT 0,
    method       text NOT NULL DEFAULT 'created'
);
COMMENT ON TABLE ops.view_refreshes IS 'How old each materialized view is, and what its last refresh cost';
COMMENT ON COLUMN ops.view_refreshes.refreshed_at IS 'The view''s spans end here';
COMMENT ON COLUMN ops.view_refreshes.certain_to IS 'Every bar recorded before this is in the view: no transaction of then was still open. Null: never refreshed';
COMMENT ON COLUMN ops.view_refreshes.possible_to IS 'No bar recorded after this is in the view';
COMMENT ON COLUMN ops.view_refreshes.method IS 'created, swap (rebuilt beside, then renamed) or concurrently';
INSERT INTO ops.view_refreshes (name, rows)
SELECT 'ohlc_today', (SELECT count(*) FROM market.ohlc_today)
UNION ALL SELECT 'ohlc_recent', (SELECT count(*) FROM market.ohlc_recent)
UNION ALL SELECT 'instrument_summary', (SELECT count(*) FROM market.instrument_summary);

CREATE TABLE ops.storage_samples (
    taken_at timestamptz NOT NULL DEFAULT now(),
    name     text NOT NULL,
    bytes    bigint NOT NULL,
    rows     bigint NOT NULL,
    PRIMARY KEY (name, taken_at)
);
COMMENT ON TABLE ops.storage_samples IS 'Sizes over time, from which growth is told. name: a table, or a timeframe of the bars';
