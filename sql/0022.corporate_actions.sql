-- Splits, dividends and renames of stocks. Bars are stored as they were traded; reads adjust them by these rows.
-- depends: 0020.views_of_the_market

CREATE TABLE market.corporate_actions (
    action_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    instrument_id  int NOT NULL REFERENCES market.instruments,
    venue          text NOT NULL,
    event_id       text NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('split', 'dividend', 'rename')),
    effective_date date NOT NULL,
    effective_at   timestamptz NOT NULL,
    known_at       timestamptz NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    withdrawn      boolean NOT NULL DEFAULT false,
    split_from     double precision CHECK (split_from > 0 AND split_from < 'Infinity'),
    split_to       double precision CHECK (split_to > 0 AND split_to < 'Infinity'),
    amount         double precision CHECK (amount > 0 AND amount < 'Infinity'),
    currency       text,
    old_symbol     text,
    new_symbol     text,
    UNIQUE (instrument_id, venue, event_id, known_at),
    CHECK ((kind = 'split') = (split_from IS NOT NULL AND split_to IS NOT NULL)),
    CHECK ((kind = 'dividend') = (amount IS NOT NULL AND currency IS NOT NULL)),
    CHECK ((kind = 'rename') = (old_symbol IS NOT NULL AND new_symbol IS NOT NULL))
);
COMMENT ON TABLE market.corporate_actions IS
    'Every statement about a corporate action; of one event the row with the newest known_at holds';
COMMENT ON COLUMN market.corporate_actions.event_id IS 'The venue''s id; a correction has that of what it corrects';
COMMENT ON COLUMN market.corporate_actions.effective_date IS 'First day on the new basis, the ex-date';
COMMENT ON COLUMN market.corporate_actions.effective_at IS 'Midnight of that day at the exchange';
COMMENT ON COLUMN market.corporate_actions.known_at IS 'From when on it was public';
COMMENT ON COLUMN market.corporate_actions.recorded_at IS 'When it was stored';
COMMENT ON COLUMN market.corporate_actions.withdrawn IS 'The venue states the event no longer';
COMMENT ON COLUMN market.corporate_actions.amount IS 'Money per share';
