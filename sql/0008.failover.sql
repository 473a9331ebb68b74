-- Bars of another venue than the first: their sources, and the list of what was taken that the first venue is still
-- to be asked for.
-- depends: 0003.live

INSERT INTO market.bar_sources (source_rank, name) VALUES
    (1, 'failover_replay_standby'),
    (2, 'failover_replay'),
    (3, 'failover_kraken'),
    (4, 'failover_coinbase'),
    (5, 'failover_binance'),
    (45, 'substitute_replay_standby'),
    (46, 'substitute_replay'),
    (47, 'substitute_kraken'),
    (48, 'substitute_coinbase'),
    (49, 'substitute_binance');

CREATE TABLE market.failovers (
    failover_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instrument_id int NOT NULL REFERENCES market.instruments,
    timeframe     text COLLATE "C" NOT NULL,
    start_time    timestamptz NOT NULL,
    end_time      timestamptz NOT NULL,
    venue         text NOT NULL,
    instead_of    text NOT NULL,
    reason        text NOT NULL CHECK (reason IN ('unavailable', 'disputed')),
    because       text NOT NULL DEFAULT '',
    attempts      int NOT NULL DEFAULT 0,
    taken_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_attempt  timestamptz,
    closed_at     timestamptz,
    outcome       text CHECK (outcome IN ('replaced', 'kept')),
    CHECK (start_time < end_time),
    CHECK ((closed_at IS NULL) = (outcome IS NULL))
);
CREATE INDEX failovers_open ON market.failovers (instead_of, timeframe, instrument_id, start_time)
    WHERE closed_at IS NULL;
COMMENT ON TABLE market.failovers IS
    'Spans in which bars of another venue stand in for the first; open until the first has stated its own';
COMMENT ON COLUMN market.failovers.end_time IS 'Exclusive';
COMMENT ON COLUMN market.failovers.venue IS 'Whose bars they are';
COMMENT ON COLUMN market.failovers.instead_of IS 'Whose bars they should be';
COMMENT ON COLUMN market.failovers.reason IS
    'unavailable: it could not be asked; disputed: its own statements contradict each other';
COMMENT ON COLUMN market.failovers.attempts IS 'How often the first venue was asked for them since';
COMMENT ON COLUMN market.failovers.next_attempt IS
    'When it is asked again; null: not by itself, a reconciliation settles it';
COMMENT ON COLUMN market.failovers.outcome IS
    'replaced: no bar of another venue is left in the span; kept: the first venue was asked often enough and has none';
