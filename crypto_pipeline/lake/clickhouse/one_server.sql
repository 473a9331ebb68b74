-- Tables of the mirror on one ClickHouse server, or in the chdb engine.
CREATE DATABASE IF NOT EXISTS crypto_pipeline COMMENT 'Mirror of the bars in PostgreSQL; it may be dropped and is then made again';

-- Every copy of a bar that was sent. The copy with the greatest version is the bar; merges remove the others in time.
-- The version is, from its highest bits down: epoch (16), complete (1), source rank (15), revision in milliseconds (44),
-- data version (52). epoch rises where PostgreSQL has less than was mirrored: a bar that left, or a lesser copy.
CREATE TABLE IF NOT EXISTS crypto_pipeline.bars
(
    instrument_id    Int32,
    timeframe        LowCardinality(String) COMMENT '1m to 1w',
    open_time        DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    open             Float64 CODEC(ZSTD(1)),
    high             Float64 CODEC(ZSTD(1)),
    low              Float64 CODEC(ZSTD(1)),
    close            Float64 CODEC(ZSTD(1)),
    volume           Float64 CODEC(ZSTD(1)) COMMENT 'In the base asset',
    quote_volume     Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'In the quote asset; null: not stated',
    taker_buy_volume Nullable(Float64) CODEC(ZSTD(1)) COMMENT 'Bought by takers, in the base asset; null: not stated',
    trade_count      Nullable(Int64) CODEC(ZSTD(1)) COMMENT 'Null: not stated',
    source           LowCardinality(String) COMMENT 'Where this copy comes from',
    source_rank      UInt16 CODEC(ZSTD(1)),
    complete         Bool CODEC(ZSTD(1)),
    revision         DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the venue stated these values',
    recorded_at      DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Since when PostgreSQL has these values',
    epoch            UInt16 CODEC(ZSTD(1)),
    data_version     UInt64 CODEC(ZSTD(1)) COMMENT 'Data version of the coverage cell when the copy was read',
    removed          Bool CODEC(ZSTD(1)) COMMENT 'True: the bar left PostgreSQL',
    version          UInt128 MATERIALIZED bitShiftLeft(toUInt128(epoch), 112)
        + bitShiftLeft(toUInt128(complete), 111) + bitShiftLeft(toUInt128(source_rank), 96)
        + bitShiftLeft(toUInt128(toUnixTimestamp64Milli(revision)), 52) + toUInt128(data_version) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY (timeframe, if(timeframe IN ('1m', '5m', '15m'), toYYYYMM(open_time), toYear(open_time)))
ORDER BY (instrument_id, timeframe, open_time);

-- Per coverage cell, the data version and the number of bars that the mirror has; the newest row counts.
CREATE TABLE IF NOT EXISTS crypto_pipeline.cells
(
    timeframe     LowCardinality(String),
    instrument_id Int32,
    day           Date32 COMMENT 'UTC day; of weekly bars the Monday',
    data_version  UInt64,
    rows          UInt32,
    written_at    DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(written_at)
ORDER BY (timeframe, instrument_id, day);

CREATE TABLE IF NOT EXISTS crypto_pipeline.instruments
(
    instrument_id Int32,
    symbol        String,
    written_at    DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(written_at)
ORDER BY instrument_id;

-- Marks by which PostgreSQL knows the state of the mirror; the newest counts.
CREATE TABLE IF NOT EXISTS crypto_pipeline.marks
(
    mark       String,
    written_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = MergeTree
ORDER BY written_at;

-- Bars with the names of instruments: what PostgreSQL's view market.ohlc shows.
CREATE OR REPLACE VIEW crypto_pipeline.ohlc AS
SELECT i.symbol AS symbol, b.timeframe AS timeframe, b.open_time AS open_time, b.bar.1 AS open, b.bar.2 AS high,
       b.bar.3 AS low, b.bar.4 AS close, b.bar.5 AS volume, b.bar.6 AS quote_volume, b.bar.7 AS taker_buy_volume,
       b.bar.8 AS trade_count, b.bar.9 AS source, b.bar.10 AS complete, b.bar.11 AS revision, b.bar.12 AS recorded_at
FROM
(
    SELECT instrument_id, timeframe, open_time,
           argMax((open, high, low, close, volume, quote_volume, taker_buy_volume, trade_count, toString(source),
                   complete, revision, recorded_at, removed), version) AS bar
    FROM crypto_pipeline.bars
    GROUP BY instrument_id, timeframe, open_time
    HAVING NOT bar.13
) AS b
INNER JOIN
(
    SELECT instrument_id, argMax(symbol, written_at) AS symbol FROM crypto_pipeline.instruments GROUP BY instrument_id
) AS i ON i.instrument_id = b.instrument_id;
