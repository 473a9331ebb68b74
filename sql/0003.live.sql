-- The live layer: trades, forming bars with last prices, leases, and what the processors say of themselves.
-- depends: 0002.ops

CREATE TABLE market.venues (
    venue_id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name     text NOT NULL UNIQUE
);
COMMENT ON TABLE market.venues IS 'Venues whose trades are stored';

-- Days are made on demand (and dropped when retention says so): no default partition.
CREATE TABLE market.trades (
    "time"        timestamptz NOT NULL,
    trade_id      bigint NOT NULL,
    first_id      bigint NOT NULL,
    last_id       bigint NOT NULL,
    price         float8 NOT NULL,
    quantity      float8 NOT NULL,
    instrument_id int NOT NULL,
    venue_id      smallint NOT NULL,
    taker_buy     boolean NOT NULL,
    PRIMARY KEY (instrument_id, "time", trade_id, venue_id)
) PARTITION BY RANGE ("time");
COMMENT ON TABLE market.trades IS 'Trades (or the venue''s aggregate trades) as stated, one row per id; kept for some days';
COMMENT ON COLUMN market.trades.trade_id IS 'The venue''s own id; contiguous per instrument where the venue''s are';
COMMENT ON COLUMN market.trades.first_id IS 'First of the individual trades in an aggregate';
COMMENT ON COLUMN market.trades.last_id IS 'Last of the individual trades in an aggregate';
COMMENT ON COLUMN market.trades.quantity IS 'In the base asset';
COMMENT ON COLUMN market.trades.taker_buy IS 'True: the taker bought';

CREATE TABLE market.live_prices (
    open_time        timestamptz NOT NULL,
    open             float8 NOT NULL,
    high             float8 NOT NULL,
    low              float8 NOT NULL,
    close            float8 NOT NULL,
    volume           float8 NOT NULL,
    quote_volume     float8,
    taker_buy_volume float8,
    trade_count      bigint,
    last_price       float8 NOT NULL,
    last_trade_time  timestamptz,
    last_trade_id    bigint,
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    instrument_id    int NOT NULL REFERENCES market.instruments,
    timeframe        text COLLATE "C" NOT NULL,
    source           text NOT NULL,
    PRIMARY KEY (instrument_id, timeframe)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.5, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE market.live_prices IS
    'Per instrument and timeframe the bar that is forming now, and the last price. NOTIFY live_prices names what changed';
COMMENT ON COLUMN market.live_prices.open_time IS 'Of the newest window in which anything is known';
COMMENT ON COLUMN market.live_prices.updated_at IS 'By the database''s clock';

CREATE VIEW market.live AS
SELECT i.symbol, p.timeframe, p.open_time, p.open, p.high, p.low, p.close, p.volume, p.quote_volume,
       p.taker_buy_volume, p.trade_count, p.last_price, p.last_trade_time, p.last_trade_id, p.source, p.updated_at
FROM market.live_prices p
JOIN market.instruments i USING (instrument_id);
COMMENT ON VIEW market.live IS 'market.live_prices with the names of instruments';

-- A duty that exactly one process may have. Every write under a lease names its token in the same transaction.
CREATE TABLE ops.leases (
    name          text        PRIMARY KEY,
    holder        text        NOT NULL,
    token         bigint      NOT NULL,
    acquired_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at    timestamptz NOT NULL,
    waiting       text,
    waiting_until timestamptz
) WITH (fillfactor = 50);
COMMENT ON COLUMN ops.leases.token IS 'Rises with every change of hands; a write with an older one is refused';
COMMENT ON COLUMN ops.leases.waiting IS 'Who stands by to take over, until waiting_until';

ALTER TABLE ops.job_metrics
    ADD COLUMN status       text NOT NULL DEFAULT 'succeeded',
    ADD COLUMN bars_made    bigint NOT NULL DEFAULT 0,
    ADD COLUMN gaps_found   bigint NOT NULL DEFAULT 0,
    ADD COLUMN gaps_filled  bigint NOT NULL DEFAULT 0,
    ADD COLUMN oldest_gap   timestamptz;
COMMENT ON COLUMN ops.job_metrics.oldest_gap IS 'Begin of the oldest unexplained hole that was left; null: none';
