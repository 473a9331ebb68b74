-- What proves that tables hold what is counted of them: when each was last proven, and which days of trades were let go.
-- depends: 0009.changes

CREATE TABLE ops.table_proofs (
    table_name text        PRIMARY KEY,
    proven_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    rows       bigint      NOT NULL,
    fault      text
);
COMMENT ON TABLE ops.table_proofs IS 'When the rows of each table were last counted and compared with what is counted elsewhere';
COMMENT ON COLUMN ops.table_proofs.fault IS 'What the table lacks or has too much; null: nothing';

CREATE TABLE ops.archive_proofs (
    archive_id bigint      PRIMARY KEY,
    proven_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    fault      text
);
COMMENT ON TABLE ops.archive_proofs IS 'When each archive file was last read again whole';
COMMENT ON COLUMN ops.archive_proofs.fault IS 'Why it is not what was written; null: it is';

-- A day that is not here, and from which live bars were made, must still have its trades.
CREATE TABLE market.trade_days_removed (
    day        date        PRIMARY KEY,
    removed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE market.trade_days_removed IS 'Days of trades that retention or a person has removed';

-- Of the days before this table was made nobody knows; a new database has none.
INSERT INTO market.trade_days_removed (day)
SELECT d::date
FROM generate_series(now() - interval '400 days', now() - interval '1 day', interval '1 day') AS d
WHERE to_regclass('market.trades_' || to_char(d AT TIME ZONE 'UTC', 'YYYY_MM_DD')) IS NULL
  AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'market.trades'::regclass);
