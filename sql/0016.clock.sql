-- The market's clock: what the venue last said of its time, so that every part of a deployment has the same "now".
-- depends: 0009.changes

CREATE TABLE market.clock (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    venue       text NOT NULL,
    stated      timestamptz NOT NULL,
    measured_at timestamptz NOT NULL,
    rate        float8 NOT NULL DEFAULT 1 CHECK (rate >= 0)
);
COMMENT ON TABLE market.clock IS 'What the venue last said of its time; empty before it said anything';
COMMENT ON COLUMN market.clock.stated IS 'The venue''s time, as it said';
COMMENT ON COLUMN market.clock.measured_at IS 'The time of this database when the venue said so';
COMMENT ON COLUMN market.clock.rate IS 'Seconds of the venue per second of this database: 1, but for a replay at another speed';

-- STABLE, on the time of the transaction: an index is used with it as with now().
CREATE FUNCTION market.now() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce((SELECT c.stated + (now() - c.measured_at) * c.rate FROM market.clock c), now())
$$;
COMMENT ON FUNCTION market.now IS
    'The time of the market: the venue''s clock as it last told, and this database''s from there. The judge of which bars are due, how old they are and which leave';
