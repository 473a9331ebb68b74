-- The ledger of trading: what was decided, what became of it, and every sum of money, as postings that balance.
-- depends: 0040.forecast_scores

CREATE SCHEMA IF NOT EXISTS trading;
COMMENT ON SCHEMA trading IS 'Scans, signals, orders, the ledger, shadow variants, the outbox of brokers';

CREATE TABLE trading.parameters (
    parameters_hash text        PRIMARY KEY,
    parameters      jsonb       NOT NULL,
    made_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE trading.parameters IS 'What each parameters_hash stands for: capital, sizes, limits, guards';

CREATE TABLE trading.accounts (
    account         text        PRIMARY KEY,
    currency        text        NOT NULL,
    capital         numeric     NOT NULL CHECK (capital > 0),
    parameters_hash text        NOT NULL REFERENCES trading.parameters,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    began           timestamptz NOT NULL,
    moment          timestamptz NOT NULL,
    checked_version bigint      NOT NULL DEFAULT 0,
    CHECK (began <= moment)
);
COMMENT ON TABLE trading.accounts IS 'Accounts that trade; the row is locked by whoever books in it';
COMMENT ON COLUMN trading.accounts.capital IS 'What the account began with, in its currency';
COMMENT ON COLUMN trading.accounts.parameters_hash IS 'Of the newest decisions; each decision has its own';
COMMENT ON COLUMN trading.accounts.began IS 'The first moment is the one after it, 15 minutes later';
COMMENT ON COLUMN trading.accounts.moment IS 'The last moment that was processed: the close of a 15m bar';
COMMENT ON COLUMN trading.accounts.checked_version IS 'Data version of bars up to which bookings were compared with them';

CREATE TABLE trading.signals (
    account         text        NOT NULL REFERENCES trading.accounts,
    strategy        text        NOT NULL,
    instrument_id   int         NOT NULL REFERENCES market.instruments,
    signal_ts       timestamptz NOT NULL,
    moment          timestamptz NOT NULL,
    made_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    tier            text        NOT NULL,
    taken           boolean     NOT NULL,
    limit_name      text,
    limit_value     float8,
    limit_threshold float8,
    decision_price  float8      NOT NULL,
    planned_stop    float8      NOT NULL,
    planned_target  float8      NOT NULL,
    planned_loss    float8      NOT NULL,
    size            numeric,
    order_sum       numeric,
    orders          int         NOT NULL,
    risk            numeric     NOT NULL,
    bound_by        text,
    size_factor     float8,
    model_factor    float8      NOT NULL,
    equity          numeric     NOT NULL,
    free_cash       numeric     NOT NULL,
    parameters_hash text        NOT NULL REFERENCES trading.parameters,
    day_volume      float8,
    stress          int,
    regime          int,
    volatility      float8,
    strength        float8,
    params_hash     text        NOT NULL,
    ml_mode         text,
    probability     float8,
    p_star          float8,
    model_id        text,
    measures        jsonb       NOT NULL,
    PRIMARY KEY (account, strategy, instrument_id, signal_ts),
    CHECK (taken = (limit_name IS NULL) AND taken = (size IS NOT NULL) AND taken = (order_sum IS NOT NULL))
);
CREATE INDEX signals_time ON trading.signals (account, signal_ts);
COMMENT ON TABLE trading.signals IS 'Every signal with what was decided of it, once, and all that it was decided from; rows never change';
COMMENT ON COLUMN trading.signals.signal_ts IS 'Open of the signal bar, as of the labels';
COMMENT ON COLUMN trading.signals.moment IS 'Its close: when it was decided, by the market''s time';
COMMENT ON COLUMN trading.signals.limit_name IS 'What rejected it, with what was found and what is allowed; null: it was taken';
COMMENT ON COLUMN trading.signals.decision_price IS 'Close of the signal bar; what is paid stands beside it in the fills';
COMMENT ON COLUMN trading.signals.planned_loss IS 'Part of the size that is lost at the stop with all orders filled, costs included';
COMMENT ON COLUMN trading.signals.size IS 'What all orders together spend, fees apart';
COMMENT ON COLUMN trading.signals.parameters_hash IS 'Of the trading parameters; params_hash: of the strategy''s';
COMMENT ON COLUMN trading.signals.probability IS 'Of the prediction, where there was one; null: the rules alone';
COMMENT ON COLUMN trading.signals.measures IS 'The setup''s own measures';

CREATE TABLE trading.orders (
    event_id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account       text        NOT NULL,
    strategy      text        NOT NULL,
    instrument_id int         NOT NULL,
    signal_ts     timestamptz NOT NULL,
    order_number  int         NOT NULL,
    event         text        NOT NULL CHECK (event IN ('placed', 'filled', 'cancelled')),
    moment        timestamptz NOT NULL,
    use           text        NOT NULL,
    price         float8,
    quote         numeric,
    FOREIGN KEY (account, strategy, instrument_id, signal_ts) REFERENCES trading.signals
);
CREATE INDEX orders_trade ON trading.orders (account, strategy, instrument_id, signal_ts);
CREATE INDEX orders_time ON trading.orders (account, moment);
COMMENT ON TABLE trading.orders IS 'What happened to each order of a trade; rows never change';
COMMENT ON COLUMN trading.orders.order_number IS '0: the entry; then the grid; then take profit, stop, and the sale at the end of the horizon';
COMMENT ON COLUMN trading.orders.price IS 'Limit, stop, or price of the fill before slippage; null: at the market';

CREATE TABLE trading.fills (
    account       text        NOT NULL,
    strategy      text        NOT NULL,
    instrument_id int         NOT NULL,
    signal_ts     timestamptz NOT NULL,
    number        int         NOT NULL CHECK (number >= 0),
    reverses      int         CHECK (reverses < number),
    moment        timestamptz NOT NULL,
    bar_ts        timestamptz NOT NULL,
    use           text        NOT NULL,
    raw_price     float8      NOT NULL,
    price         numeric     NOT NULL,
    units         numeric     NOT NULL,
    quote         numeric     NOT NULL,
    fee           numeric     NOT NULL,
    slippage      numeric     NOT NULL,
    PRIMARY KEY (account, strategy, instrument_id, signal_ts, number),
    FOREIGN KEY (account, strategy, instrument_id, signal_ts) REFERENCES trading.signals
);
CREATE UNIQUE INDEX fills_reversed ON trading.fills (account, strategy, instrument_id, signal_ts, reverses)
    WHERE reverses IS NOT NULL;
CREATE INDEX fills_time ON trading.fills (account, moment);
COMMENT ON TABLE trading.fills IS 'Events of trades by number; one that bars proved wrong is taken back by another; rows never change';
COMMENT ON COLUMN trading.fills.reverses IS 'Number of the event that this one takes back';
COMMENT ON COLUMN trading.fills.moment IS 'When it was booked; bar_ts is the open of the bar in which it happened';
COMMENT ON COLUMN trading.fills.raw_price IS 'Before slippage; price is after it';
COMMENT ON COLUMN trading.fills.units IS 'Bought; below 0: sold. quote is units x price';

CREATE TABLE trading.postings (
    account        text        NOT NULL REFERENCES trading.accounts,
    strategy       text,
    instrument_id  int,
    signal_ts      timestamptz,
    number         int         NOT NULL,
    moment         timestamptz NOT NULL,
    ledger_account text        NOT NULL
        CHECK (ledger_account IN ('cash', 'position', 'exchange', 'slippage', 'fees', 'capital')),
    currency       text        NOT NULL,
    amount         numeric     NOT NULL,
    UNIQUE NULLS NOT DISTINCT (account, strategy, instrument_id, signal_ts, number, ledger_account, currency),
    FOREIGN KEY (account, strategy, instrument_id, signal_ts, number) REFERENCES trading.fills,
    CHECK (num_nulls(strategy, instrument_id, signal_ts) IN (0, 3))
);
CREATE INDEX postings_time ON trading.postings (account, moment);
COMMENT ON TABLE trading.postings IS 'Double entry: the postings of each event sum to zero in every currency; rows never change';
COMMENT ON COLUMN trading.postings.strategy IS 'Of the fill; null: the capital with which the account began';
COMMENT ON COLUMN trading.postings.ledger_account IS 'cash and position: the account''s own; exchange: the market, before slippage';

CREATE FUNCTION trading.postings_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM trading.postings p
        WHERE p.account = NEW.account AND p.strategy IS NOT DISTINCT FROM NEW.strategy
          AND p.instrument_id IS NOT DISTINCT FROM NEW.instrument_id
          AND p.signal_ts IS NOT DISTINCT FROM NEW.signal_ts AND p.number = NEW.number AND p.currency = NEW.currency
        HAVING sum(p.amount) <> 0
    ) THEN
        RAISE EXCEPTION 'the postings of event % of % (% at %) do not sum to zero in %',
            NEW.number, NEW.strategy, NEW.instrument_id, NEW.signal_ts, NEW.currency USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER postings_balance AFTER INSERT ON trading.postings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION trading.postings_balance();

CREATE FUNCTION trading.never_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of trading.% never change: book a reversal instead', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON trading.postings
    FOR EACH STATEMENT EXECUTE FUNCTION trading.never_changed();
CREATE TRIGGER never_changed BEFORE UPDATE OR DELETE ON trading.fills
    FOR EACH STATEMENT EXECUTE FUNCTION trading.never_changed();

CREATE TABLE trading.positions (
    account           text        NOT NULL,
    strategy          text        NOT NULL,
    instrument_id     int         NOT NULL,
    signal_ts         timestamptz NOT NULL,
    revision          int         NOT NULL,
    tier              text        NOT NULL,
    entry_ts          timestamptz NOT NULL,
    size              numeric     NOT NULL,
    order_sum         numeric     NOT NULL,
    orders            int         NOT NULL,
    risk              numeric     NOT NULL,
    reserved          numeric     NOT NULL,
    booked            int         NOT NULL,
    number            int         NOT NULL,
    units             numeric     NOT NULL,
    paid              numeric     NOT NULL,
    received          numeric     NOT NULL,
    fees              numeric     NOT NULL,
    slippage          numeric     NOT NULL,
    value             numeric     NOT NULL,
    result            numeric     NOT NULL,
    decision_price    float8      NOT NULL,
    entry_price       float8,
    average_price     float8,
    stop_loss_price   float8,
    take_profit_price float8,
    mark              float8,
    PRIMARY KEY (account, strategy, instrument_id, signal_ts),
    FOREIGN KEY (account, strategy, instrument_id, signal_ts) REFERENCES trading.signals
);
COMMENT ON TABLE trading.positions IS 'Trades that are open now, as the ledger has them';
COMMENT ON COLUMN trading.positions.reserved IS 'Cash that is kept for orders that are not filled yet';
COMMENT ON COLUMN trading.positions.booked IS 'Fills that stand; number counts all events, reversals included';
COMMENT ON COLUMN trading.positions.entry_price IS 'Null: the entry bar has not closed yet';

CREATE TABLE trading.trade_logs (
    account           text        NOT NULL,
    strategy          text        NOT NULL,
    instrument_id     int         NOT NULL,
    signal_ts         timestamptz NOT NULL,
    revision          int         NOT NULL,
    superseded_at     timestamptz,
    tier              text        NOT NULL,
    entry_ts          timestamptz NOT NULL,
    exit_ts           timestamptz NOT NULL,
    outcome           text        NOT NULL CHECK (outcome IN ('TP', 'SL', 'TIME')),
    ambiguous         text        NOT NULL,
    orders_filled     int         NOT NULL,
    size              numeric     NOT NULL,
    units             numeric     NOT NULL,
    decision_price    float8      NOT NULL,
    entry_price       float8      NOT NULL,
    average_price     float8      NOT NULL,
    exit_price        float8      NOT NULL,
    stop_loss_price   float8      NOT NULL,
    take_profit_price float8      NOT NULL,
    paid              numeric     NOT NULL,
    received          numeric     NOT NULL,
    fees              numeric     NOT NULL,
    slippage          numeric     NOT NULL,
    pnl               numeric     NOT NULL,
    net_return        float8      NOT NULL,
    PRIMARY KEY (account, strategy, instrument_id, signal_ts, revision),
    FOREIGN KEY (account, strategy, instrument_id, signal_ts) REFERENCES trading.signals
);
CREATE UNIQUE INDEX trade_logs_current ON trading.trade_logs (account, strategy, instrument_id, signal_ts)
    WHERE superseded_at IS NULL;
CREATE INDEX trade_logs_time ON trading.trade_logs (account, exit_ts);
COMMENT ON TABLE trading.trade_logs IS 'One row per trade that ended';
COMMENT ON COLUMN trading.trade_logs.superseded_at IS 'The moment at which its fills were taken back, because bars were healed; null: it holds';
COMMENT ON COLUMN trading.trade_logs.exit_ts IS 'Close of the bar in which it ended';
COMMENT ON COLUMN trading.trade_logs.pnl IS 'received - paid, fees included';
COMMENT ON COLUMN trading.trade_logs.net_return IS 'As the label of the signal has it';

CREATE TABLE trading.equity (
    account      text        NOT NULL REFERENCES trading.accounts,
    moment       timestamptz NOT NULL,
    cash         numeric     NOT NULL,
    reserved     numeric     NOT NULL,
    positions    numeric     NOT NULL,
    equity       numeric     NOT NULL CHECK (equity = cash + positions),
    open_trades  int         NOT NULL,
    open_risk    numeric     NOT NULL,
    day_mark     numeric     NOT NULL,
    week_mark    numeric     NOT NULL,
    high_water   numeric     NOT NULL,
    drawdown     float8      NOT NULL,
    state        text        NOT NULL CHECK (state IN ('ACTIVE', 'REDUCING', 'HALTED')),
    daily_until  timestamptz,
    weekly_until timestamptz,
    halt_until   timestamptz,
    drawn        boolean     NOT NULL,
    needs_reset  boolean     NOT NULL,
    PRIMARY KEY (account, moment)
);
COMMENT ON TABLE trading.equity IS 'The account after each moment''s bookings, marked at its closes, with the marks of its guards';
COMMENT ON COLUMN trading.equity.day_mark IS 'Equity at 00:00 UTC; week_mark: at Monday 00:00 UTC';
COMMENT ON COLUMN trading.equity.drawn IS 'The drawdown has reached its halt and not been left since';

CREATE TABLE trading.risk_state (
    account     text        NOT NULL REFERENCES trading.accounts,
    moment      timestamptz NOT NULL,
    state       text        NOT NULL,
    because     text        NOT NULL,
    resumes_at  timestamptz,
    equity      numeric     NOT NULL,
    drawdown    float8      NOT NULL,
    PRIMARY KEY (account, moment)
);
COMMENT ON TABLE trading.risk_state IS 'Every change of what an account may do';
COMMENT ON COLUMN trading.risk_state.because IS 'The guard that says so; ''resumed'' where none does';
COMMENT ON COLUMN trading.risk_state.resumes_at IS 'When entries are allowed again by themselves; null: now, or after a person''s reset';

CREATE TABLE trading.risk_resets (
    account    text        NOT NULL REFERENCES trading.accounts,
    moment     timestamptz NOT NULL,
    reason     text        NOT NULL CHECK (reason <> ''),
    decided_by text        NOT NULL CHECK (decided_by <> ''),
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (account, moment)
);
COMMENT ON TABLE trading.risk_resets IS 'Resets of a halt by a person';
COMMENT ON COLUMN trading.risk_resets.moment IS 'The moment at which it takes effect: the next one that is processed';
