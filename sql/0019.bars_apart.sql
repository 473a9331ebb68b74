-- Bars that are not believed, with what was stated and why.
-- depends: 0011.trades_apart

CREATE TABLE market.bars_apart (
    apart_id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instrument_id integer     NOT NULL REFERENCES market.instruments ON DELETE CASCADE,
    venue         text        COLLATE "C" NOT NULL DEFAULT '',
    timeframe     text        COLLATE "C" NOT NULL,
    open_time     timestamptz,
    reason        text        NOT NULL,
    said          text        NOT NULL DEFAULT '',
    first_seen    timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen     timestamptz NOT NULL DEFAULT clock_timestamp(),
    times         integer     NOT NULL DEFAULT 1,
    UNIQUE NULLS NOT DISTINCT (instrument_id, venue, timeframe, open_time)
);
COMMENT ON TABLE market.bars_apart IS
    'Bars that a venue stated, or that were computed, and that cannot be: never among the others';
COMMENT ON COLUMN market.bars_apart.venue IS 'Who stated it; empty: it was refused when it was to be stored';
COMMENT ON COLUMN market.bars_apart.open_time IS 'Null: it could not be read';
COMMENT ON COLUMN market.bars_apart.reason IS 'Why it is not believed, as of the last time';
COMMENT ON COLUMN market.bars_apart.said IS 'What was stated, as of the last time';
COMMENT ON COLUMN market.bars_apart.times IS 'How often it was stated so';
CREATE INDEX bars_apart_last_seen ON market.bars_apart (last_seen);
