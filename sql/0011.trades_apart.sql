-- Trades that are kept apart from those that are believed, with the reason.
-- depends: 0009.changes

CREATE TABLE market.trades_apart (
    apart_id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instrument_id integer     NOT NULL REFERENCES market.instruments ON DELETE CASCADE,
    venue_id      smallint    NOT NULL,
    reason        text        NOT NULL CHECK (reason IN ('refused', 'replaced', 'removed', 'contradicted')),
    trade_id      numeric,
    "time"        timestamptz,
    price         double precision,
    quantity      double precision,
    taker_buy     boolean,
    said          text        NOT NULL DEFAULT '',
    first_seen    timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen     timestamptz NOT NULL DEFAULT clock_timestamp(),
    times         integer     NOT NULL DEFAULT 1,
    UNIQUE NULLS NOT DISTINCT (instrument_id, venue_id, reason, trade_id)
);
COMMENT ON TABLE market.trades_apart IS 'Trades that the venue stated and that are not believed, and stored trades that it contradicted';
COMMENT ON COLUMN market.trades_apart.reason IS
    'refused: it cannot be; replaced: the venue states the same id otherwise; removed: ids prove that it did not happen; '
    'contradicted: stored and kept, although an answer lacked it without proof';
COMMENT ON COLUMN market.trades_apart.said IS 'What the venue said, or why it is not believed';
CREATE INDEX trades_apart_last_seen ON market.trades_apart (last_seen);
