-- Market data: instruments, bars with their history, coverage, the ledger of gaps, reconciliations.
-- depends:

CREATE EXTENSION IF NOT EXISTS btree_gist;

CREATE SCHEMA market;
COMMENT ON SCHEMA market IS 'Instruments, bars and what is known about their completeness';

CREATE TABLE market.instruments (
    instrument_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol        text NOT NULL UNIQUE,
    asset_class   text NOT NULL,
    base          text NOT NULL,
    quote         text NOT NULL,
    tier          text NOT NULL,
    calendar      text NOT NULL DEFAULT '24/7',
    active        boolean NOT NULL DEFAULT true,
    added_at      timestamptz NOT NULL DEFAULT now(),
    tick_size     numeric,
    lot_size      numeric
);
COMMENT ON TABLE market.instruments IS 'What is collected, under one canonical name';
COMMENT ON COLUMN market.instruments.symbol IS 'Canonical name: BASE-QUOTE for crypto, the ticker otherwise';
COMMENT ON COLUMN market.instruments.tier IS 'Liquidity class: large, mid, meme, stock, macro';
COMMENT ON COLUMN market.instruments.calendar IS 'When it trades: 24/7 or the code of an exchange calendar';
COMMENT ON COLUMN market.instruments.active IS 'False: no longer collected; stored data is kept';

CREATE TABLE market.listings (
    instrument_id int NOT NULL REFERENCES market.instruments,
    venue         text NOT NULL,
    venue_symbol  text NOT NULL,
    listed        timestamptz,
    delisted      timestamptz,
    status        text NOT NULL DEFAULT 'trading',
    tick_size     numeric,
    lot_size      numeric,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (instrument_id, venue)
);
COMMENT ON TABLE market.listings IS 'What a venue calls an instrument, and since and until when it lists it';
COMMENT ON COLUMN market.listings.listed IS 'Open time of the first bar the venue ever had; null: not known';
COMMENT ON COLUMN market.listings.delisted IS 'No bar is expected from here on; null: still listed';
COMMENT ON COLUMN market.listings.status IS 'trading, paused or delisted';

CREATE TABLE market.bar_sources (
    source_rank smallint PRIMARY KEY,
    name        text NOT NULL UNIQUE
);
COMMENT ON TABLE market.bar_sources IS 'Where copies of bars come from; among complete copies the higher rank is believed';
INSERT INTO market.bar_sources (source_rank, name) VALUES
    (10, 'venue_historical'),
    (20, 'historical_aggregated'),
    (30, 'live_gap_filled'),
    (40, 'live_aggregated'),
    (50, 'reconciled');

-- Bars. Columns of eight bytes first (no padding). No default partition: it makes "latest of all" thirty times slower.
CREATE TABLE market.ohlc_data (
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
    recorded_at      timestamptz NOT NULL,
    instrument_id    int NOT NULL,
    source_rank      smallint NOT NULL,
    complete         boolean NOT NULL,
    timeframe        text COLLATE "C" NOT NULL,
    PRIMARY KEY (instrument_id, timeframe, open_time)
) PARTITION BY LIST (timeframe);
COMMENT ON TABLE market.ohlc_data IS
    'One row per instrument, timeframe and open time: the best copy known. Months of 1m, 5m, 15m are made on demand';
COMMENT ON COLUMN market.ohlc_data.volume IS 'In the base asset';
COMMENT ON COLUMN market.ohlc_data.quote_volume IS 'In the quote asset; null: not stated';
COMMENT ON COLUMN market.ohlc_data.taker_buy_volume IS 'Bought by takers, in the base asset; null: not stated';
COMMENT ON COLUMN market.ohlc_data.trade_count IS 'Null: not stated';
COMMENT ON COLUMN market.ohlc_data.revision IS 'When the venue stated these values';
COMMENT ON COLUMN market.ohlc_data.recorded_at IS 'Since when these values are the truth here; as-of reads go by it';
COMMENT ON COLUMN market.ohlc_data.source_rank IS 'See market.bar_sources';
COMMENT ON COLUMN market.ohlc_data.complete IS 'False: the source saw only a part of the window; any complete copy is better';

CREATE TABLE market.ohlc_1m PARTITION OF market.ohlc_data FOR VALUES IN ('1m') PARTITION BY RANGE (open_time);
CREATE TABLE market.ohlc_5m PARTITION OF market.ohlc_data FOR VALUES IN ('5m') PARTITION BY RANGE (open_time);
CREATE TABLE market.ohlc_15m PARTITION OF market.ohlc_data FOR VALUES IN ('15m') PARTITION BY RANGE (open_time);
CREATE TABLE market.ohlc_30m PARTITION OF market.ohlc_data FOR VALUES IN ('30m');
CREATE TABLE market.ohlc_1h PARTITION OF market.ohlc_data FOR VALUES IN ('1h');
CREATE TABLE market.ohlc_4h PARTITION OF market.ohlc_data FOR VALUES IN ('4h');
CREATE TABLE market.ohlc_1d PARTITION OF market.ohlc_data FOR VALUES IN ('1d');
CREATE TABLE market.ohlc_1w PARTITION OF market.ohlc_data FOR VALUES IN ('1w');

CREATE TABLE market.ohlc_revisions (
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
    recorded_at      timestamptz NOT NULL,
    superseded_at    timestamptz NOT NULL,
    instrument_id    int NOT NULL,
    source_rank      smallint NOT NULL,
    complete         boolean NOT NULL,
    timeframe        text COLLATE "C" NOT NULL
);
CREATE INDEX ohlc_revisions_key ON market.ohlc_revisions (instrument_id, timeframe, open_time);
COMMENT ON TABLE market.ohlc_revisions IS
    'Copies that were the truth in [recorded_at, superseded_at) and were then replaced by a better one';

CREATE SEQUENCE market.data_version;
COMMENT ON SEQUENCE market.data_version IS 'Rises with every change of what is known of a coverage cell';

CREATE TABLE market.coverage (
    data_version  bigint NOT NULL DEFAULT 0,
    built_from    bigint,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    instrument_id int NOT NULL REFERENCES market.instruments,
    day           date NOT NULL,
    expected      int NOT NULL DEFAULT 0,
    present       int NOT NULL DEFAULT 0,
    explained     int NOT NULL DEFAULT 0,
    final         boolean NOT NULL DEFAULT false,
    timeframe     text COLLATE "C" NOT NULL,
    PRIMARY KEY (instrument_id, timeframe, day)
) WITH (fillfactor = 70);
COMMENT ON TABLE market.coverage IS
    'Per instrument, timeframe and day how many bars there should be, are, and are known to be absent. Its rows are also the locks that let writers of one cell take turns';
COMMENT ON COLUMN market.coverage.day IS 'UTC day; of weekly bars the Monday';
COMMENT ON COLUMN market.coverage.expected IS 'Bars that should exist by now; 0 before anyone asked';
COMMENT ON COLUMN market.coverage.present IS 'Bars stored; equals count(*) at all times';
COMMENT ON COLUMN market.coverage.explained IS 'Absent bars whose open ledger row says why they cannot be there';
COMMENT ON COLUMN market.coverage.final IS 'expected > 0 and present + explained >= expected';
COMMENT ON COLUMN market.coverage.data_version IS 'From market.data_version, whenever bars or explanations of the cell changed';
COMMENT ON COLUMN market.coverage.built_from IS 'Of rolled-up timeframes: the newest 1m data_version that went into the bars';

CREATE TABLE market.gaps (
    gap_id        bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    instrument_id int NOT NULL REFERENCES market.instruments,
    timeframe     text COLLATE "C" NOT NULL,
    start_time    timestamptz NOT NULL,
    end_time      timestamptz NOT NULL,
    bars          int NOT NULL CHECK (bars > 0),
    state         text NOT NULL CHECK (state IN
        ('pending', 'lost', 'no_trade', 'venue_outage', 'not_listed', 'delisted', 'unfillable', 'healed')),
    evidence      jsonb NOT NULL DEFAULT '{}',
    attempts      int NOT NULL DEFAULT 0,
    first_seen    timestamptz NOT NULL DEFAULT now(),
    last_attempt  timestamptz,
    next_attempt  timestamptz,
    closed_at     timestamptz,
    note          text,
    CHECK (start_time < end_time),
    CHECK ((state = 'healed') = (closed_at IS NOT NULL)),
    CONSTRAINT gaps_open_never_overlap EXCLUDE USING gist
        (instrument_id WITH =, timeframe WITH =, tstzrange(start_time, end_time) WITH &&) WHERE (closed_at IS NULL)
);
CREATE INDEX gaps_due ON market.gaps (next_attempt) WHERE closed_at IS NULL AND state IN ('pending', 'lost');
CREATE INDEX gaps_series ON market.gaps (instrument_id, timeframe, start_time);
COMMENT ON TABLE market.gaps IS 'The ledger: every run of absent bars with its reason. Explained rows stay open as long as the bars are absent';
COMMENT ON COLUMN market.gaps.end_time IS 'Exclusive';
COMMENT ON COLUMN market.gaps.bars IS 'Open times in [start_time, end_time)';
COMMENT ON COLUMN market.gaps.state IS
    'pending (too early), lost (ours, to be fetched), no_trade, venue_outage, not_listed, delisted, unfillable (these explain), healed (closed)';
COMMENT ON COLUMN market.gaps.evidence IS 'What the state was concluded from; of a healed row also its state before';
COMMENT ON COLUMN market.gaps.attempts IS 'Fetches that did not bring the bars';
COMMENT ON COLUMN market.gaps.next_attempt IS 'Not fetched again before; null: as soon as possible';

CREATE TABLE market.reconciliations (
    reconciliation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instrument_id int NOT NULL REFERENCES market.instruments,
    timeframe     text COLLATE "C" NOT NULL,
    open_time     timestamptz NOT NULL,
    kind          text NOT NULL,
    state         text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'resolved', 'disputed')),
    ours          jsonb NOT NULL,
    theirs        jsonb NOT NULL,
    columns       text[] NOT NULL,
    attempts      int NOT NULL DEFAULT 0,
    found_at      timestamptz NOT NULL DEFAULT now(),
    last_seen     timestamptz NOT NULL DEFAULT now(),
    resolved_at   timestamptz,
    note          text,
    CHECK ((state = 'resolved') = (resolved_at IS NOT NULL))
);
CREATE UNIQUE INDEX reconciliations_unresolved
    ON market.reconciliations (instrument_id, timeframe, open_time, kind) WHERE resolved_at IS NULL;
COMMENT ON TABLE market.reconciliations IS 'Bars on which two statements disagree, with both values';
COMMENT ON COLUMN market.reconciliations.kind IS 'What was compared, for example rollup_vs_venue';
COMMENT ON COLUMN market.reconciliations.state IS
    'open (to be looked into), resolved (they agree by now), disputed (the venue contradicts itself)';
COMMENT ON COLUMN market.reconciliations.columns IS 'The columns that differ';
COMMENT ON COLUMN market.reconciliations.attempts IS 'Times it was found again after the first';

-- For people and tools: names instead of ids.
CREATE VIEW market.ohlc AS
SELECT i.symbol, o.timeframe, o.open_time, o.open, o.high, o.low, o.close, o.volume, o.quote_volume,
       CASE WHEN o.volume > 0 THEN o.quote_volume / o.volume END AS vwap,
       o.taker_buy_volume, o.trade_count, s.name AS source, o.complete, o.revision, o.recorded_at
FROM market.ohlc_data o
JOIN market.instruments i USING (instrument_id)
JOIN market.bar_sources s USING (source_rank);
COMMENT ON VIEW market.ohlc IS 'Bars with the names of instrument and source';

CREATE VIEW market.ledger AS
SELECT i.symbol, g.timeframe, g.start_time, g.end_time, g.bars, g.state, g.attempts, g.next_attempt, g.evidence, g.note,
       g.first_seen, g.closed_at, g.gap_id
FROM market.gaps g
JOIN market.instruments i USING (instrument_id);
COMMENT ON VIEW market.ledger IS 'market.gaps with the names of instruments';
