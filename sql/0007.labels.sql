-- Labels: setups of the strategies with what became of them, the parameters behind them, and what they were computed from.
-- depends: 0003.live

CREATE SCHEMA IF NOT EXISTS research;
COMMENT ON SCHEMA research IS 'What is computed from bars: features, labels, models';

CREATE TABLE research.label_parameters (
    params_hash text PRIMARY KEY,
    strategy    text NOT NULL,
    parameters  jsonb NOT NULL,
    first_used  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE research.label_parameters IS 'What the hash in a label stands for';

CREATE SEQUENCE research.label_version;
COMMENT ON SEQUENCE research.label_version IS 'Rises with every change of the labels of a day';

-- Per instrument and day what was found; also the lock that lets writers of one day take turns.
CREATE TABLE research.label_cells (
    label_version   bigint NOT NULL DEFAULT 0,
    computed_at     timestamptz,
    instrument_id   int NOT NULL REFERENCES market.instruments,
    day             date NOT NULL,
    setups          int NOT NULL DEFAULT 0,
    labels          int NOT NULL DEFAULT 0,
    waiting         int NOT NULL DEFAULT 0,
    waits_until     timestamptz,
    strategy        text NOT NULL,
    params_hash     text NOT NULL REFERENCES research.label_parameters,
    inputs          text,
    minute_days     date[] NOT NULL DEFAULT '{}',
    minute_versions text,
    PRIMARY KEY (strategy, params_hash, instrument_id, day)
) WITH (fillfactor = 70);
COMMENT ON TABLE research.label_cells IS 'Per strategy, parameters, instrument and UTC day of signals: what was found, and what it was computed from';
COMMENT ON COLUMN research.label_cells.label_version IS 'From research.label_version, whenever labels of the cell changed';
COMMENT ON COLUMN research.label_cells.waiting IS 'Setups whose horizon has not ended, or on whose path a bar is missing without a reason';
COMMENT ON COLUMN research.label_cells.waits_until IS 'When the next of the waiting labels may be told';
COMMENT ON COLUMN research.label_cells.inputs IS 'Data versions of the 15m and 1h bars it was computed from, look-back and horizon included';
COMMENT ON COLUMN research.label_cells.minute_days IS 'Days whose 1m bars were asked to decide';
COMMENT ON COLUMN research.label_cells.minute_versions IS 'Their data versions';

CREATE TABLE research.strategy_dca_labels (
    signal_ts     timestamptz NOT NULL,
    entry_ts      timestamptz NOT NULL,
    label_end_ts  timestamptz NOT NULL,
    recorded_at   timestamptz NOT NULL,
    entry_px      float8 NOT NULL,
    take_profit   float8 NOT NULL,
    stop_loss     float8 NOT NULL,
    exit_px       float8 NOT NULL,
    gross_return  float8 NOT NULL,
    net_return    float8 NOT NULL,
    mae           float8 NOT NULL,
    mfe           float8 NOT NULL,
    uniqueness    float8 NOT NULL CHECK (uniqueness > 0 AND uniqueness <= 1),
    instrument_id int NOT NULL REFERENCES market.instruments,
    horizon       int NOT NULL,
    bars_to_touch int NOT NULL CHECK (bars_to_touch BETWEEN 1 AND horizon),
    outcome       text NOT NULL CHECK (outcome IN ('TP', 'SL', 'TIME')),
    outcome_class text NOT NULL CHECK (outcome_class IN ('WIN', 'LOSS', 'BREAKEVEN', 'TIMEOUT')),
    ambiguous     text NOT NULL CHECK (ambiguous IN ('no', 'minutes', 'assumed')),
    tier          text NOT NULL,
    params_hash   text NOT NULL REFERENCES research.label_parameters,
    data_version  text NOT NULL,
    fall          float8 NOT NULL,
    volume_ratio  float8 NOT NULL,
    rsi14         float8 NOT NULL,
    average_px    float8 NOT NULL,
    orders_filled int NOT NULL,
    PRIMARY KEY (instrument_id, signal_ts, params_hash)
);
CREATE INDEX strategy_dca_labels_time ON research.strategy_dca_labels (params_hash, signal_ts);
COMMENT ON TABLE research.strategy_dca_labels IS
    'One row per DCA setup whose horizon has ended: what a trade on it would have come to';
COMMENT ON COLUMN research.strategy_dca_labels.signal_ts IS
    'Open of the signal bar, the key of its features; the signal is known 15 minutes later';
COMMENT ON COLUMN research.strategy_dca_labels.entry_px IS
    'Open of the bar after the signal bar';
COMMENT ON COLUMN research.strategy_dca_labels.take_profit IS
    'Price; of a grid on the average of the orders that were filled';
COMMENT ON COLUMN research.strategy_dca_labels.label_end_ts IS
    'Close of the bar that ended it, or the end of the horizon: the label is known from here on';
COMMENT ON COLUMN research.strategy_dca_labels.bars_to_touch IS
    '15m bars held, the entry bar included';
COMMENT ON COLUMN research.strategy_dca_labels.net_return IS
    'gross_return less slippage at the entry and fees on both sides';
COMMENT ON COLUMN research.strategy_dca_labels.mae IS
    'Lowest price while it was surely held, relative to entry_px';
COMMENT ON COLUMN research.strategy_dca_labels.mfe IS
    'Highest price while it was surely held, relative to entry_px';
COMMENT ON COLUMN research.strategy_dca_labels.ambiguous IS
    'Whether one bar could have ended it in two ways: no; minutes (its 1m bars decided); assumed (the stop came first)';
COMMENT ON COLUMN research.strategy_dca_labels.uniqueness IS
    'Mean over its bars of 1 / (labels of this instrument and parameters alive in the bar)';
COMMENT ON COLUMN research.strategy_dca_labels.data_version IS
    'What it was computed from when its values were written';
COMMENT ON COLUMN research.strategy_dca_labels.recorded_at IS
    'Since when these values are the truth here; as-of reads go by it';
CREATE TABLE research.strategy_dca_label_revisions (
    LIKE research.strategy_dca_labels,
    superseded_at timestamptz NOT NULL
);
CREATE INDEX strategy_dca_label_revisions_time ON research.strategy_dca_label_revisions (params_hash, signal_ts);
COMMENT ON TABLE research.strategy_dca_label_revisions IS 'Labels that were the truth in [recorded_at, superseded_at)';

CREATE TABLE research.strategy_swing_labels (
    signal_ts     timestamptz NOT NULL,
    entry_ts      timestamptz NOT NULL,
    label_end_ts  timestamptz NOT NULL,
    recorded_at   timestamptz NOT NULL,
    entry_px      float8 NOT NULL,
    take_profit   float8 NOT NULL,
    stop_loss     float8 NOT NULL,
    exit_px       float8 NOT NULL,
    gross_return  float8 NOT NULL,
    net_return    float8 NOT NULL,
    mae           float8 NOT NULL,
    mfe           float8 NOT NULL,
    uniqueness    float8 NOT NULL CHECK (uniqueness > 0 AND uniqueness <= 1),
    instrument_id int NOT NULL REFERENCES market.instruments,
    horizon       int NOT NULL,
    bars_to_touch int NOT NULL CHECK (bars_to_touch BETWEEN 1 AND horizon),
    outcome       text NOT NULL CHECK (outcome IN ('TP', 'SL', 'TIME')),
    outcome_class text NOT NULL CHECK (outcome_class IN ('WIN', 'LOSS', 'BREAKEVEN', 'TIMEOUT')),
    ambiguous     text NOT NULL CHECK (ambiguous IN ('no', 'minutes', 'assumed')),
    tier          text NOT NULL,
    params_hash   text NOT NULL REFERENCES research.label_parameters,
    data_version  text NOT NULL,
    breakout       float8 NOT NULL,
    volume_ratio   float8 NOT NULL,
    rsi14          float8 NOT NULL,
    macd_histogram float8 NOT NULL,
    day_change     float8 NOT NULL,
    PRIMARY KEY (instrument_id, signal_ts, params_hash)
);
CREATE INDEX strategy_swing_labels_time ON research.strategy_swing_labels (params_hash, signal_ts);
COMMENT ON TABLE research.strategy_swing_labels IS
    'One row per SWING setup whose horizon has ended: what a trade on it would have come to';
COMMENT ON COLUMN research.strategy_swing_labels.signal_ts IS
    'Open of the signal bar, the key of its features; the signal is known 15 minutes later';
COMMENT ON COLUMN research.strategy_swing_labels.entry_px IS
    'Open of the bar after the signal bar';
COMMENT ON COLUMN research.strategy_swing_labels.take_profit IS
    'Price; of a grid on the average of the orders that were filled';
COMMENT ON COLUMN research.strategy_swing_labels.label_end_ts IS
    'Close of the bar that ended it, or the end of the horizon: the label is known from here on';
COMMENT ON COLUMN research.strategy_swing_labels.bars_to_touch IS
    '15m bars held, the entry bar included';
COMMENT ON COLUMN research.strategy_swing_labels.net_return IS
    'gross_return less slippage at the entry and fees on both sides';
COMMENT ON COLUMN research.strategy_swing_labels.mae IS
    'Lowest price while it was surely held, relative to entry_px';
COMMENT ON COLUMN research.strategy_swing_labels.mfe IS
    'Highest price while it was surely held, relative to entry_px';
COMMENT ON COLUMN research.strategy_swing_labels.ambiguous IS
    'Whether one bar could have ended it in two ways: no; minutes (its 1m bars decided); assumed (the stop came first)';
COMMENT ON COLUMN research.strategy_swing_labels.uniqueness IS
    'Mean over its bars of 1 / (labels of this instrument and parameters alive in the bar)';
COMMENT ON COLUMN research.strategy_swing_labels.data_version IS
    'What it was computed from when its values were written';
COMMENT ON COLUMN research.strategy_swing_labels.recorded_at IS
    'Since when these values are the truth here; as-of reads go by it';
CREATE TABLE research.strategy_swing_label_revisions (
    LIKE research.strategy_swing_labels,
    superseded_at timestamptz NOT NULL
);
CREATE INDEX strategy_swing_label_revisions_time ON research.strategy_swing_label_revisions (params_hash, signal_ts);
COMMENT ON TABLE research.strategy_swing_label_revisions IS 'Labels that were the truth in [recorded_at, superseded_at)';

CREATE TABLE research.strategy_channel_labels (
    signal_ts     timestamptz NOT NULL,
    entry_ts      timestamptz NOT NULL,
    label_end_ts  timestamptz NOT NULL,
    recorded_at   timestamptz NOT NULL,
    entry_px      float8 NOT NULL,
    take_profit   float8 NOT NULL,
    stop_loss     float8 NOT NULL,
    exit_px       float8 NOT NULL,
    gross_return  float8 NOT NULL,
    net_return    float8 NOT NULL,
    mae           float8 NOT NULL,
    mfe           float8 NOT NULL,
    uniqueness    float8 NOT NULL CHECK (uniqueness > 0 AND uniqueness <= 1),
    instrument_id int NOT NULL REFERENCES market.instruments,
    horizon       int NOT NULL,
    bars_to_touch int NOT NULL CHECK (bars_to_touch BETWEEN 1 AND horizon),
    outcome       text NOT NULL CHECK (outcome IN ('TP', 'SL', 'TIME')),
    outcome_class text NOT NULL CHECK (outcome_class IN ('WIN', 'LOSS', 'BREAKEVEN', 'TIMEOUT')),
    ambiguous     text NOT NULL CHECK (ambiguous IN ('no', 'minutes', 'assumed')),
    tier          text NOT NULL,
    params_hash   text NOT NULL REFERENCES research.label_parameters,
    data_version  text NOT NULL,
    slope          float8 NOT NULL,
    sigma          float8 NOT NULL,
    width          float8 NOT NULL,
    containment    float8 NOT NULL,
    "position"     float8 NOT NULL,
    day_range      float8 NOT NULL,
    reward_to_risk float8 NOT NULL,
    touches_upper  int NOT NULL,
    touches_lower  int NOT NULL,
    fallback       boolean NOT NULL,
    PRIMARY KEY (instrument_id, signal_ts, params_hash)
);
CREATE INDEX strategy_channel_labels_time ON research.strategy_channel_labels (params_hash, signal_ts);
COMMENT ON TABLE research.strategy_channel_labels IS
    'One row per CHANNEL setup whose horizon has ended: what a trade on it would have come to';
COMMENT ON COLUMN research.strategy_channel_labels.signal_ts IS
    'Open of the signal bar, the key of its features; the signal is known 15 minutes later';
COMMENT ON COLUMN research.strategy_channel_labels.entry_px IS
    'Open of the bar after the signal bar';
COMMENT ON COLUMN research.strategy_channel_labels.take_profit IS
    'Price; of a grid on the average of the orders that were filled';
COMMENT ON COLUMN research.strategy_channel_labels.label_end_ts IS
    'Close of the bar that ended it, or the end of the horizon: the label is known from here on';
COMMENT ON COLUMN research.strategy_channel_labels.bars_to_touch IS
    '15m bars held, the entry bar included';
COMMENT ON COLUMN research.strategy_channel_labels.net_return IS
    'gross_return less slippage at the entry and fees on both sides';
COMMENT ON COLUMN research.strategy_channel_labels.mae IS
    'Lowest price while it was surely held, relative to entry_px';
COMMENT ON COLUMN research.strategy_channel_labels.mfe IS
    'Highest price while it was surely held, relative to entry_px';
COMMENT ON COLUMN research.strategy_channel_labels.ambiguous IS
    'Whether one bar could have ended it in two ways: no; minutes (its 1m bars decided); assumed (the stop came first)';
COMMENT ON COLUMN research.strategy_channel_labels.uniqueness IS
    'Mean over its bars of 1 / (labels of this instrument and parameters alive in the bar)';
COMMENT ON COLUMN research.strategy_channel_labels.data_version IS
    'What it was computed from when its values were written';
COMMENT ON COLUMN research.strategy_channel_labels.recorded_at IS
    'Since when these values are the truth here; as-of reads go by it';
CREATE TABLE research.strategy_channel_label_revisions (
    LIKE research.strategy_channel_labels,
    superseded_at timestamptz NOT NULL
);
CREATE INDEX strategy_channel_label_revisions_time ON research.strategy_channel_label_revisions (params_hash, signal_ts);
COMMENT ON TABLE research.strategy_channel_label_revisions IS 'Labels that were the truth in [recorded_at, superseded_at)';
