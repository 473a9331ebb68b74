-- Minutes that price updates were told by venues without a stream, until they are in history.
-- depends: 0024.venues

CREATE TABLE market.price_updates (
    open_time        timestamptz NOT NULL,
    open             float8 NOT NULL,
    high             float8 NOT NULL,
    low              float8 NOT NULL,
    close            float8 NOT NULL,
    volume           float8 NOT NULL,
    quote_volume     float8,
    taker_buy_volume float8,
    trade_count      int8,
    revision         timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    instrument_id    int NOT NULL REFERENCES market.instruments,
    complete         boolean NOT NULL,
    source           text NOT NULL,
    PRIMARY KEY (instrument_id, open_time)
) WITH (autovacuum_vacuum_scale_factor = 0.5, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE market.price_updates IS
    'Final 1m bars of venues without a stream, as the price updates received them; the historical sync moves them into '
    'market.ohlc_data. A table of its own: an update never waits for what writes history';
COMMENT ON COLUMN market.price_updates.revision IS 'When the venue stated these values';
COMMENT ON COLUMN market.price_updates.updated_at IS 'When the row was stored, by the database''s clock';
