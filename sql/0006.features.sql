-- Features: one row per instrument and closed 15m bar, what each day was computed from, and what was served live.
-- depends: 0005.views

CREATE SCHEMA IF NOT EXISTS research;
COMMENT ON SCHEMA research IS 'What is computed from bars: features, labels, models';

-- Columns of eight bytes first. Months are made on demand; no default partition.
CREATE TABLE research.ml_features (
    open_time             timestamptz NOT NULL,
    available_at          timestamptz NOT NULL,
    lr_1                  float8,
    lr_4                  float8,
    lr_16                 float8,
    lr_96                 float8,
    lr_672                float8,
    rv_16                 float8,
    rv_96                 float8,
    rv_672                float8,
    rv_96_to_672          float8,
    parkinson_96          float8,
    bollinger_width       float8,
    bollinger_z           float8,
    atr_14                float8,
    ema_20                float8,
    ema_96                float8,
    macd                  float8,
    rsi_14                float8,
    rsi_14_change_4       float8,
    adx_14                float8,
    slope_96              float8,
    stochastic_14         float8,
    from_high_16          float8,
    from_high_96          float8,
    from_low_96           float8,
    donchian_96           float8,
    breakout_80           float8,
    volume_z_96           float8,
    volume_16_to_96       float8,
    volume_to_slot        float8,
    signed_volume_16      float8,
    dollar_volume_96      float8,
    body                  float8,
    upper_wick            float8,
    lower_wick            float8,
    amihud_96             float8,
    autocorrelation_96    float8,
    hour_sin              float8,
    hour_cos              float8,
    weekday_sin           float8,
    weekday_cos           float8,
    btc_lr_4              float8,
    btc_lr_96             float8,
    btc_rv_96             float8,
    btc_correlation_672   float8,
    btc_beta_672          float8,
    relative_strength_96  float8,
    relative_strength_672 float8,
    breadth               float8,
    rank_lr_96            float8,
    rsi_14_1h             float8,
    ema_20_1h             float8,
    atr_14_1h             float8,
    rsi_14_4h             float8,
    ema_20_4h             float8,
    atr_14_4h             float8,
    lr_7_1d               float8,
    sma_20_1d             float8,
    true_range_14_1d      float8,
    instrument_id         int NOT NULL,
    regime                smallint,
    stress                smallint,
    eligible              boolean NOT NULL,
    PRIMARY KEY (instrument_id, open_time)
) PARTITION BY RANGE (open_time);
COMMENT ON TABLE research.ml_features IS
    'Features of closed 15m bars, by open time, UTC; null where an input is missing or not warm';
COMMENT ON COLUMN research.ml_features.available_at IS 'Close of the bar: the first moment at which the row may be used';
COMMENT ON COLUMN research.ml_features.eligible IS 'At most 5 % of the last 96 bars are missing';
COMMENT ON COLUMN research.ml_features.regime IS 'Market: -2 CRASH, -1 BEAR, 0 NEUTRAL, 1 BULL; null: not known';
COMMENT ON COLUMN research.ml_features.stress IS 'Market: -2 PANIC, -1 CAUTION, 0 CALM, 1 EUPHORIA; null: not known';
COMMENT ON COLUMN research.ml_features.lr_1 IS 'log return over 1 bars';
COMMENT ON COLUMN research.ml_features.lr_4 IS 'log return over 4 bars';
COMMENT ON COLUMN research.ml_features.lr_16 IS 'log return over 16 bars';
COMMENT ON COLUMN research.ml_features.lr_96 IS 'log return over 96 bars';
COMMENT ON COLUMN research.ml_features.lr_672 IS 'log return over 672 bars';
COMMENT ON COLUMN research.ml_features.rv_16 IS 'deviation of 1-bar log returns over 16 bars, per day';
COMMENT ON COLUMN research.ml_features.rv_96 IS 'deviation of 1-bar log returns over 96 bars, per day';
COMMENT ON COLUMN research.ml_features.rv_672 IS 'deviation of 1-bar log returns over 672 bars, per day';
COMMENT ON COLUMN research.ml_features.rv_96_to_672 IS 'rv_96 / rv_672';
COMMENT ON COLUMN research.ml_features.parkinson_96 IS 'Parkinson''s volatility from high and low over 96 bars, per day';
COMMENT ON COLUMN research.ml_features.bollinger_width IS '4 sigma / mean of 20 closes';
COMMENT ON COLUMN research.ml_features.bollinger_z IS '(close - mean) / sigma of 20 closes';
COMMENT ON COLUMN research.ml_features.atr_14 IS 'ATR 14 / close';
COMMENT ON COLUMN research.ml_features.ema_20 IS 'close / EMA 20 - 1';
COMMENT ON COLUMN research.ml_features.ema_96 IS 'close / EMA 96 - 1';
COMMENT ON COLUMN research.ml_features.macd IS '(MACD 12 26 - signal 9) / ATR 14';
COMMENT ON COLUMN research.ml_features.rsi_14 IS 'Wilder''s RSI, 0 to 100';
COMMENT ON COLUMN research.ml_features.rsi_14_change_4 IS 'RSI minus that of 4 bars before';
COMMENT ON COLUMN research.ml_features.adx_14 IS 'Wilder''s ADX, 0 to 100';
COMMENT ON COLUMN research.ml_features.slope_96 IS 'OLS slope of the log close over 96 bars, per bar';
COMMENT ON COLUMN research.ml_features.stochastic_14 IS 'fast %K 14, 0 to 100';
COMMENT ON COLUMN research.ml_features.from_high_16 IS 'close / highest high of 16 bars - 1';
COMMENT ON COLUMN research.ml_features.from_high_96 IS 'close / highest high of 96 bars - 1';
COMMENT ON COLUMN research.ml_features.from_low_96 IS 'close / lowest low of 96 bars - 1';
COMMENT ON COLUMN research.ml_features.donchian_96 IS 'place of the close between low and high of 96 bars, 0 to 1';
COMMENT ON COLUMN research.ml_features.breakout_80 IS 'close / highest high of the 80 bars before - 1';
COMMENT ON COLUMN research.ml_features.volume_z_96 IS 'z of ln(1 + volume) over 96 bars';
COMMENT ON COLUMN research.ml_features.volume_16_to_96 IS 'mean volume of 16 bars / of 96 bars';
COMMENT ON COLUMN research.ml_features.volume_to_slot IS 'volume / its mean in the same quarter of an hour of the last 7 days';
COMMENT ON COLUMN research.ml_features.signed_volume_16 IS 'volume of rising minus falling bars / volume, 16 bars, -1 to 1';
COMMENT ON COLUMN research.ml_features.dollar_volume_96 IS 'ln of the mean dollar volume of 96 bars';
COMMENT ON COLUMN research.ml_features.body IS '(close - open) / (high - low)';
COMMENT ON COLUMN research.ml_features.upper_wick IS 'high above the body / (high - low)';
COMMENT ON COLUMN research.ml_features.lower_wick IS 'low below the body / (high - low)';
COMMENT ON COLUMN research.ml_features.amihud_96 IS 'ln of the mean of |return| / dollar volume over traded bars of 96';
COMMENT ON COLUMN research.ml_features.autocorrelation_96 IS 'correlation of 1-bar returns with those a bar before, 96 bars';
COMMENT ON COLUMN research.ml_features.hour_sin IS 'sine of the hour of the open, UTC';
COMMENT ON COLUMN research.ml_features.hour_cos IS 'cosine of the hour of the open, UTC';
COMMENT ON COLUMN research.ml_features.weekday_sin IS 'sine of the weekday of the open, Monday 0';
COMMENT ON COLUMN research.ml_features.weekday_cos IS 'cosine of the weekday of the open, Monday 0';
COMMENT ON COLUMN research.ml_features.btc_lr_4 IS 'the benchmark''s log return over 4 bars';
COMMENT ON COLUMN research.ml_features.btc_lr_96 IS 'the benchmark''s log return over 96 bars';
COMMENT ON COLUMN research.ml_features.btc_rv_96 IS 'the benchmark''s rv_96';
COMMENT ON COLUMN research.ml_features.btc_correlation_672 IS 'correlation of 1-bar returns with the benchmark''s, 672 bars';
COMMENT ON COLUMN research.ml_features.btc_beta_672 IS 'slope of 1-bar returns on the benchmark''s, 672 bars';
COMMENT ON COLUMN research.ml_features.relative_strength_96 IS 'lr_96 minus the benchmark''s';
COMMENT ON COLUMN research.ml_features.relative_strength_672 IS 'lr_672 minus the benchmark''s';
COMMENT ON COLUMN research.ml_features.breadth IS 'share of all instruments whose lr_96 is above 0';
COMMENT ON COLUMN research.ml_features.rank_lr_96 IS 'rank of lr_96 among all instruments, 0 lowest to 1 highest, ties in the middle';
COMMENT ON COLUMN research.ml_features.rsi_14_1h IS 'Wilder''s RSI on the last closed 1h bar';
COMMENT ON COLUMN research.ml_features.ema_20_1h IS 'close / EMA 20 - 1 on the last closed 1h bar';
COMMENT ON COLUMN research.ml_features.atr_14_1h IS 'ATR 14 / close on the last closed 1h bar';
COMMENT ON COLUMN research.ml_features.rsi_14_4h IS 'Wilder''s RSI on the last closed 4h bar';
COMMENT ON COLUMN research.ml_features.ema_20_4h IS 'close / EMA 20 - 1 on the last closed 4h bar';
COMMENT ON COLUMN research.ml_features.atr_14_4h IS 'ATR 14 / close on the last closed 4h bar';
COMMENT ON COLUMN research.ml_features.lr_7_1d IS 'log return over 7 closed days';
COMMENT ON COLUMN research.ml_features.sma_20_1d IS 'close / mean of 20 closed days - 1';
COMMENT ON COLUMN research.ml_features.true_range_14_1d IS 'mean true range of 14 closed days / close';

-- As they were when they were first computed at the close of their bar: what a live reader saw. Kept for some days.
CREATE TABLE research.ml_features_live (
    LIKE research.ml_features,
    known_at timestamptz NOT NULL,
    PRIMARY KEY (instrument_id, open_time)
);
CREATE INDEX ml_features_live_by_time ON research.ml_features_live (open_time);
COMMENT ON TABLE research.ml_features_live IS 'Rows as the live path wrote them, never changed afterwards; the parity check computes them again';
COMMENT ON COLUMN research.ml_features_live.known_at IS 'Bars were read as they were known at this moment';

CREATE SEQUENCE research.feature_version;
COMMENT ON SEQUENCE research.feature_version IS 'Rises with every change of the features of a day';

CREATE TABLE research.feature_cells (
    computed_from   bigint,
    feature_version bigint NOT NULL DEFAULT 0,
    computed_at     timestamptz NOT NULL DEFAULT now(),
    instrument_id   int NOT NULL REFERENCES market.instruments,
    day             date NOT NULL,
    rows            int NOT NULL DEFAULT 0,
    schema_hash     text COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (instrument_id, day)
) WITH (fillfactor = 70);
COMMENT ON TABLE research.feature_cells IS
    'Per instrument and UTC day what its features were computed from. Its rows are also the locks of their writers';
COMMENT ON COLUMN research.feature_cells.computed_from IS
    'Sum of the data versions of every coverage cell that can change the day''s features; null: a day in the making, not yet computed as a whole';
COMMENT ON COLUMN research.feature_cells.feature_version IS 'From research.feature_version, whenever rows of the cell were written';
COMMENT ON COLUMN research.feature_cells.schema_hash IS 'Which features there were and how they were computed';

CREATE TABLE research.feature_drift (
    checked_at timestamptz NOT NULL DEFAULT now(),
    feature    text COLLATE "C" NOT NULL,
    day        date NOT NULL,
    psi        float8,
    threshold  float8,
    drifted    boolean NOT NULL,
    PRIMARY KEY (feature, day)
);
COMMENT ON TABLE research.feature_drift IS 'Newest drift of every feature by day: PSI of its last week against before, and the 99th percentile of its own past';

-- For people and tools: names instead of numbers.
CREATE VIEW research.features AS
SELECT i.symbol,
       (ARRAY['CRASH', 'BEAR', 'NEUTRAL', 'BULL'])[f.regime + 3] AS market_regime,
       (ARRAY['PANIC', 'CAUTION', 'CALM', 'EUPHORIA'])[f.stress + 3] AS market_stress,
       f.*
FROM research.ml_features f
JOIN market.instruments i USING (instrument_id);
COMMENT ON VIEW research.features IS 'Features with the names of instrument, regime and stress';
