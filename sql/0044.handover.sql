-- Hand-over to brokers: orders are stored before they are sent, and it is known of each whether it arrived.
-- depends: 0040.forecast_scores

CREATE SCHEMA IF NOT EXISTS trading;

CREATE TABLE trading.handovers (
    handover_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    signal_ts     timestamptz NOT NULL,
    enter_until   timestamptz NOT NULL,
    exit_at       timestamptz NOT NULL,
    closed_at     timestamptz,
    instrument_id int     NOT NULL REFERENCES market.instruments,
    broker        text    NOT NULL,
    strategy      text    NOT NULL,
    state         text    NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closing', 'closed')),
    reason        text,
    entries       jsonb   NOT NULL,
    stop_price    numeric NOT NULL CHECK (stop_price > 0),
    target_price  numeric CHECK (target_price > 0),
    target_factor numeric CHECK (target_factor > 1),
    UNIQUE (broker, instrument_id, strategy, signal_ts),
    CHECK ((target_price IS NULL) <> (target_factor IS NULL)),
    CHECK ((state = 'closed') = (closed_at IS NOT NULL))
);
CREATE INDEX handovers_open ON trading.handovers (broker) WHERE state <> 'closed';
COMMENT ON TABLE trading.handovers IS 'What a broker is to carry out: one row per taken signal, never a second one';
COMMENT ON COLUMN trading.handovers.enter_until IS 'Entries that were not sent by then are not sent any more';
COMMENT ON COLUMN trading.handovers.exit_at IS 'The position is sold at the market then';
COMMENT ON COLUMN trading.handovers.target_factor IS 'Where the take profit stands on the average entry: times it';

CREATE TABLE trading.order_outbox (
    client_id     text PRIMARY KEY CHECK (length(client_id) BETWEEN 8 AND 34),
    handover_id   bigint  NOT NULL REFERENCES trading.handovers,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempted_at  timestamptz,
    next_attempt  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at      timestamptz,
    number        int     NOT NULL,
    attempts      int     NOT NULL DEFAULT 0,
    role          text    NOT NULL CHECK (role IN ('entry', 'protection', 'exit')),
    side          text    NOT NULL CHECK (side IN ('buy', 'sell')),
    kind          text    NOT NULL CHECK (kind IN ('market', 'limit', 'protection')),
    state         text    NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'unknown', 'open', 'filled', 'cancelled', 'expired', 'rejected')),
    cancel_wanted boolean NOT NULL DEFAULT false,
    stop_rests    boolean NOT NULL DEFAULT false,
    quantity      numeric NOT NULL CHECK (quantity > 0),
    price         numeric CHECK (price > 0),
    stop_price    numeric CHECK (stop_price > 0),
    filled        numeric NOT NULL DEFAULT 0 CHECK (filled >= 0 AND filled <= quantity),
    venue_id      text,
    error         text,
    UNIQUE (handover_id, role, number),
    CHECK ((kind = 'limit') <= (price IS NOT NULL)),
    CHECK ((kind = 'protection') = (stop_price IS NOT NULL))
);
CREATE INDEX order_outbox_live ON trading.order_outbox (handover_id) WHERE state IN ('queued', 'unknown', 'open');
COMMENT ON TABLE trading.order_outbox IS 'Orders for a venue. An order that is being sent is unknown until the venue was heard or asked';
COMMENT ON COLUMN trading.order_outbox.client_id IS 'Follows from the signal and the order''s place, so that a repeated order has the same';
COMMENT ON COLUMN trading.order_outbox.price IS 'The limit; of a protection the take profit that rests with the stop, where the venue knows pairs';
COMMENT ON COLUMN trading.order_outbox.stop_rests IS 'Whether the stop rested at the venue when it was last asked';

CREATE TABLE trading.venue_fills (
    filled_at     timestamptz NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    instrument_id int     NOT NULL REFERENCES market.instruments,
    broker        text    NOT NULL,
    fill_id       text    NOT NULL,
    client_id     text    NOT NULL REFERENCES trading.order_outbox,
    side          text    NOT NULL CHECK (side IN ('buy', 'sell')),
    price         numeric NOT NULL CHECK (price > 0),
    quantity      numeric NOT NULL CHECK (quantity > 0),
    fee           numeric NOT NULL,
    fee_asset     text    NOT NULL,
    PRIMARY KEY (broker, instrument_id, fill_id)
);
CREATE INDEX venue_fills_order ON trading.venue_fills (client_id);
COMMENT ON TABLE trading.venue_fills IS 'Fills as the venue states them, each once; never changed';

CREATE TABLE trading.reconciliations (
    reconciliation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    broker      text    NOT NULL,
    passed      boolean NOT NULL,
    differences text[]  NOT NULL,
    CHECK (passed = (cardinality(differences) = 0))
);
CREATE INDEX reconciliations_newest ON trading.reconciliations (broker, reconciliation_id DESC);
COMMENT ON TABLE trading.reconciliations IS 'Comparisons of our orders and positions with those of the venue; no entry is sent before one that passed';
