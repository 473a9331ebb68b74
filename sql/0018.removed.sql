-- When an instrument was taken out of collection, so that one that never had a bar can leave without a trace once no
-- run that knew it goes on.
-- depends: 0009.changes

ALTER TABLE market.instruments ADD COLUMN removed_at timestamptz;
COMMENT ON COLUMN market.instruments.removed_at IS 'When it was taken out of collection; null: it is collected';
UPDATE market.instruments SET removed_at = clock_timestamp() WHERE NOT active;
