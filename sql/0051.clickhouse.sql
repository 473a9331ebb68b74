-- The mirror in ClickHouse: which of its states this database knows.
-- depends: 0047.mirror

CREATE TABLE lake.clickhouse (
    known_as   text NOT NULL,
    before     text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    target     text PRIMARY KEY
);
COMMENT ON TABLE lake.clickhouse IS
    'Mirrors in ClickHouse that this database fills. A mirror that bears another mark was filled from another database, or from a later state of this one: all of it is compared again';
COMMENT ON COLUMN lake.clickhouse.known_as IS 'The mark that the mirror bears, new at the begin and the end of every run';
COMMENT ON COLUMN lake.clickhouse.before IS 'The mark before it, which the mirror bears if the run was killed in between';
COMMENT ON COLUMN lake.clickhouse.changed_at IS 'When the mark was changed';
COMMENT ON COLUMN lake.clickhouse.target IS 'Address of the mirror without its user and password';
