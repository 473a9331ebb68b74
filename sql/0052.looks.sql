-- The mirror looks at what changed since its last look, not at every day of a series.
-- depends: 0047.mirror

CREATE TABLE lake.looks (
    above           bigint NOT NULL DEFAULT 0,
    pending_version bigint,
    pending_xid     bigint,
    again           bigint NOT NULL DEFAULT 0,
    market_time     timestamptz,
    whole_at        timestamptz,
    archived        bigint NOT NULL DEFAULT 0,
    schema_version  int NOT NULL DEFAULT 0,
    dataset         text COLLATE "C" NOT NULL,
    series          text COLLATE "C" NOT NULL,
    base_url        text NOT NULL DEFAULT '',
    PRIMARY KEY (dataset, series)
);
COMMENT ON TABLE lake.looks IS
    'How far the mirror has looked at each series: the next run looks at cells of later versions and at the newest days';
COMMENT ON COLUMN lake.looks.above IS 'All cells with versions up to here are as they should be; later ones are looked at';
COMMENT ON COLUMN lake.looks.pending_version IS
    'The newest version at an earlier look: it becomes above once every transaction of that time has ended';
COMMENT ON COLUMN lake.looks.pending_xid IS 'The first transaction after that look';
COMMENT ON COLUMN lake.looks.again IS 'Rises whenever all cells must be looked at again';
COMMENT ON COLUMN lake.looks.market_time IS 'The market''s time of the last look; null: the next one is at all cells';
COMMENT ON COLUMN lake.looks.whole_at IS 'When all cells were last looked at';
COMMENT ON COLUMN lake.looks.archived IS 'Which archive files there were, as a sum: with others, all cells are looked at';
COMMENT ON COLUMN lake.looks.schema_version IS 'Version of files at the last look: with another, all cells are looked at';
COMMENT ON COLUMN lake.looks.dataset IS 'As in lake.files';
COMMENT ON COLUMN lake.looks.series IS 'As in lake.files';
COMMENT ON COLUMN lake.looks.base_url IS 'Where files were stored at the last look: elsewhere, all cells are looked at';

CREATE FUNCTION lake.look_again(of_dataset text, of_series text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO lake.looks AS l (dataset, series, again) VALUES (of_dataset, of_series, 1)
    ON CONFLICT (dataset, series) DO UPDATE SET again = l.again + 1, market_time = NULL
$$;
COMMENT ON FUNCTION lake.look_again IS
    'Lets the next run of the mirror look at all cells of a series: for changes that give a cell no new version';

-- Finds cells of late versions without a look at all others. Older servers would rewrite a row's place in every index
-- with each new version; there the table is read instead.
DO $$
BEGIN
    IF current_setting('server_version_num')::int >= 160000 THEN
        CREATE INDEX coverage_versions ON market.coverage USING brin (data_version) WITH (pages_per_range = 8);
        CREATE INDEX feature_cells_versions ON research.feature_cells USING brin (feature_version)
            WITH (pages_per_range = 8);
        CREATE INDEX label_cells_versions ON research.label_cells USING brin (label_version) WITH (pages_per_range = 8);
    END IF;
END $$;
