-- Scans: of every closed 15m bar, instrument and strategy whether there was a setup, and if not, why not.
-- depends: 0040.forecast_scores

CREATE SCHEMA IF NOT EXISTS trading;

CREATE TABLE trading.scan_conditions (
    condition_set smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    strategy      text     NOT NULL,
    params_hash   text     NOT NULL,
    names         text[]   NOT NULL,
    comparisons   text[]   NOT NULL,
    thresholds    float8[] NOT NULL,
    meanings      text[]   NOT NULL,
    UNIQUE (strategy, params_hash, names, comparisons, thresholds),
    CHECK (cardinality(names) = cardinality(comparisons) AND cardinality(names) = cardinality(thresholds)),
    CHECK (cardinality(names) BETWEEN 1 AND 16)
);
COMMENT ON TABLE trading.scan_conditions IS 'The conditions of a strategy with their thresholds: what the values of a scan are compared with';

CREATE TABLE trading.scan_history (
    signal_ts        timestamptz NOT NULL,
    scanned_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    instrument_id    int         NOT NULL,
    failed           int,
    confidence_score real,
    condition_set    smallint    NOT NULL,
    market_regime    smallint,
    stress           smallint,
    strategy         text        NOT NULL,
    decision         text        NOT NULL CHECK (decision IN ('TAKE', 'SKIP', 'NEAR_MISS')),
    reason           text        NOT NULL,
    "values"         float8[],
    metadata         json,
    PRIMARY KEY (instrument_id, signal_ts, strategy)
) PARTITION BY RANGE (signal_ts);
CREATE INDEX scan_history_takes ON trading.scan_history (signal_ts) WHERE decision = 'TAKE';
COMMENT ON TABLE trading.scan_history IS 'One row per closed 15m bar, instrument and strategy; rows never change, days are dropped when they are old';
COMMENT ON COLUMN trading.scan_history.signal_ts IS 'Open of the bar';
COMMENT ON COLUMN trading.scan_history.failed IS 'Bit i is set where condition i (from 0) of condition_set is not met; null: nothing was judged';
COMMENT ON COLUMN trading.scan_history."values" IS 'What was compared, in the order of condition_set; NaN: not known, a bar of its window is absent';
COMMENT ON COLUMN trading.scan_history.reason IS 'setup; of a NEAR_MISS the one condition that is not met; else conditions, warm_up or bar_missing';
COMMENT ON COLUMN trading.scan_history.confidence_score IS '1 where every condition is met, less by how far the others are from it';
COMMENT ON COLUMN trading.scan_history.market_regime IS '-2 crash, -1 bear, 0 neutral, 1 bull; stress: -2 panic, -1 caution, 0 calm, 1 euphoria; null: not known';
COMMENT ON COLUMN trading.scan_history.metadata IS 'Of a TAKE: all measures of the setup';

-- What is left of a day when its rows are dropped.
CREATE TABLE trading.scan_days (
    day           date     NOT NULL,
    instrument_id int      NOT NULL,
    condition_set smallint NOT NULL,
    scans         smallint NOT NULL,
    takes         smallint NOT NULL,
    near_misses   smallint NOT NULL,
    unjudged      smallint NOT NULL,
    strategy      text     NOT NULL,
    failures      smallint[] NOT NULL,
    near          smallint[] NOT NULL,
    PRIMARY KEY (day, instrument_id, condition_set)
);
COMMENT ON TABLE trading.scan_days IS 'Scans of a day in numbers, by instrument and conditions';
COMMENT ON COLUMN trading.scan_days.unjudged IS 'Scans of bars that were missing or of the warm-up';
COMMENT ON COLUMN trading.scan_days.failures IS 'Per condition: in how many scans it was not met';
COMMENT ON COLUMN trading.scan_days.near IS 'Per condition: in how many scans it alone was not met';

CREATE TABLE trading.scan_progress (
    one           boolean     PRIMARY KEY DEFAULT true CHECK (one),
    scanned_from  timestamptz NOT NULL,
    scanned_until timestamptz NOT NULL,
    waits_since   timestamptz
);
COMMENT ON TABLE trading.scan_progress IS 'Every bar that opened in [scanned_from, scanned_until) has been scanned, in order and once';
COMMENT ON COLUMN trading.scan_progress.waits_since IS 'Since when, by the market''s clock, the next bar is waited for';

CREATE VIEW trading.scans AS
SELECT i.symbol AS instrument, h.strategy, h.signal_ts, h.decision, h.reason, c.name AS condition,
       nullif(c.value, 'NaN') AS value, c.comparison, c.threshold,
       CASE WHEN c.comparison LIKE '>%' THEN 1 ELSE -1 END * (nullif(c.value, 'NaN') - c.threshold) AS margin,
       (h.failed >> (c.place::int - 1)) & 1 = 0 AS met, c.meaning, h.params_hash, h.scanned_at
FROM (SELECT * FROM trading.scan_history JOIN trading.scan_conditions USING (condition_set, strategy)) h
JOIN market.instruments i USING (instrument_id)
CROSS JOIN LATERAL unnest(h."values", h.names, h.comparisons, h.thresholds, h.meanings)
    WITH ORDINALITY AS c (value, name, comparison, threshold, meaning, place)
WHERE h."values" IS NOT NULL;
COMMENT ON VIEW trading.scans IS 'Scans condition by condition, with margins: below 0 where a condition is not met';
