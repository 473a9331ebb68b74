-- Shadow variants: ledgers beside production, the tests of them, and the changes that a person made.
-- depends: 0040.forecast_scores

CREATE SCHEMA IF NOT EXISTS trading;

CREATE TABLE trading.shadow_variations (
    recorded_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    variation       text        NOT NULL,
    parameters_hash text        NOT NULL,
    about           text        NOT NULL,
    declares        jsonb       NOT NULL,
    parameters      jsonb       NOT NULL,
    PRIMARY KEY (variation, parameters_hash)
);
COMMENT ON TABLE trading.shadow_variations IS 'Every variant, with all parameters that its ledger was made with; another row where production''s change';
COMMENT ON COLUMN trading.shadow_variations.declares IS 'What it differs in from production (CHAMPION), and in nothing else';

CREATE TABLE trading.shadow_testing_scans (
    signal_ts       timestamptz NOT NULL,
    moment          timestamptz NOT NULL,
    limit_value     float8,
    limit_threshold float8,
    size_factor     float8,
    instrument_id   int         NOT NULL REFERENCES market.instruments,
    taken           boolean     NOT NULL,
    variation       text        NOT NULL,
    parameters_hash text        NOT NULL,
    strategy        text        NOT NULL,
    limit_name      text,
    size            numeric,
    PRIMARY KEY (variation, parameters_hash, signal_ts, strategy, instrument_id),
    FOREIGN KEY (variation, parameters_hash) REFERENCES trading.shadow_variations,
    CHECK (taken = (limit_name IS NULL))
);
COMMENT ON TABLE trading.shadow_testing_scans IS 'What each variant decided of each signal, and why it was not taken';

CREATE TABLE trading.shadow_testing_trades (
    signal_ts       timestamptz NOT NULL,
    entry_ts        timestamptz NOT NULL,
    exit_ts         timestamptz NOT NULL,
    net_return      float8      NOT NULL,
    instrument_id   int         NOT NULL REFERENCES market.instruments,
    orders_filled   int         NOT NULL,
    variation       text        NOT NULL,
    parameters_hash text        NOT NULL,
    strategy        text        NOT NULL,
    outcome         text        NOT NULL CHECK (outcome IN ('TP', 'SL', 'TIME')),
    size            numeric     NOT NULL,
    paid            numeric     NOT NULL,
    received        numeric     NOT NULL,
    fees            numeric     NOT NULL,
    slippage        numeric     NOT NULL,
    pnl             numeric     NOT NULL,
    PRIMARY KEY (variation, parameters_hash, signal_ts, strategy, instrument_id),
    FOREIGN KEY (variation, parameters_hash) REFERENCES trading.shadow_variations,
    CHECK (pnl = received - paid)
);
COMMENT ON TABLE trading.shadow_testing_trades IS 'Closed trades in the ledger of each variant';

CREATE TABLE trading.shadow_outcomes (
    net             float8 NOT NULL,
    day             date   NOT NULL,
    trades          int    NOT NULL,
    variation       text   NOT NULL,
    parameters_hash text   NOT NULL,
    strategy        text   NOT NULL,
    PRIMARY KEY (variation, parameters_hash, strategy, day),
    FOREIGN KEY (variation, parameters_hash) REFERENCES trading.shadow_variations
);
COMMENT ON TABLE trading.shadow_outcomes IS 'What each variant earned with each strategy on each UTC day';
COMMENT ON COLUMN trading.shadow_outcomes.net IS 'Marked to market, costs paid, as a fraction of the ledger''s equity at the begin of the day';
COMMENT ON COLUMN trading.shadow_outcomes.trades IS 'Trades that ended on the day';

CREATE TABLE trading.shadow_tests (
    test_id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    decided_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    market_time     timestamptz NOT NULL,
    first_day       date        NOT NULL,
    last_day        date        NOT NULL UNIQUE,
    seed            bigint      NOT NULL,
    parameters_hash text        NOT NULL,
    figures         jsonb       NOT NULL,
    recommended     jsonb       NOT NULL,
    CHECK (first_day <= last_day)
);
COMMENT ON TABLE trading.shadow_tests IS 'Every test of the variants against production, one in 28 days, with all its figures';
COMMENT ON COLUMN trading.shadow_tests.recommended IS 'The variant to change to, by strategy; empty: no change';

CREATE TABLE trading.shadow_changes (
    change_id   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    market_time timestamptz NOT NULL,
    test_id     bigint      REFERENCES trading.shadow_tests,
    strategy    text        NOT NULL,
    variation   text        NOT NULL,
    declares    jsonb       NOT NULL,
    changed_by  text        NOT NULL CHECK (changed_by <> ''),
    reason      text        NOT NULL CHECK (reason <> '')
);
CREATE INDEX shadow_changes_time ON trading.shadow_changes (strategy, change_id);
COMMENT ON TABLE trading.shadow_changes IS 'Changes of production that a person made; the newest row of a strategy is in force';
COMMENT ON COLUMN trading.shadow_changes.variation IS 'What production does from then on with the strategy; CHAMPION: what the settings say';
COMMENT ON COLUMN trading.shadow_changes.test_id IS 'The test that recommended it; null: no test did';
