-- Which days were compared with the venue's own bars, and where the venue's bars of each width begin.
-- depends: 0009.changes

CREATE TABLE market.comparisons (
    compared_at   timestamptz NOT NULL,
    data_version  bigint NOT NULL,
    instrument_id int NOT NULL REFERENCES market.instruments ON DELETE CASCADE,
    day           date NOT NULL,
    stored        int NOT NULL,
    compared      int NOT NULL,
    disagreed     int NOT NULL,
    timeframe     text COLLATE "C" NOT NULL,
    venue         text NOT NULL,
    PRIMARY KEY (instrument_id, timeframe, day)
);
COMMENT ON TABLE market.comparisons IS 'Per instrument, timeframe and day: when its bars were last compared with the venue''s own';
COMMENT ON COLUMN market.comparisons.compared_at IS 'By the venue''s clock';
COMMENT ON COLUMN market.comparisons.data_version IS
    'The data version of the coverage cell that was compared; where the cell has another now, its bars changed since';
COMMENT ON COLUMN market.comparisons.day IS 'UTC day; of weekly bars the Monday';
COMMENT ON COLUMN market.comparisons.stored IS 'Bars that were stored';
COMMENT ON COLUMN market.comparisons.compared IS 'Those of them that the venue states too';
COMMENT ON COLUMN market.comparisons.disagreed IS 'Those on which both still differed afterwards';

ALTER TABLE market.listings ADD COLUMN first_bars jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN market.listings.first_bars IS
    'Open time of the venue''s first bar by timeframe, where the venue was asked for it; else all begin with listed';
