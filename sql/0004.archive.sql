-- The archive: which spans of bars, revisions and trades lie in Parquet files, and how many bars of a cell that is.
-- depends: 0003.live

CREATE TABLE market.archive_files (
    archive_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind          text NOT NULL CHECK (kind IN ('bars', 'revisions', 'trades')),
    timeframe     text COLLATE "C" NOT NULL,
    first_open    timestamptz NOT NULL,
    end_open      timestamptz NOT NULL,
    base_url      text NOT NULL,
    path          text NOT NULL,
    rows          bigint NOT NULL CHECK (rows >= 0),
    bytes         bigint NOT NULL CHECK (bytes > 0),
    sha256        text NOT NULL,
    min_open_time timestamptz,
    max_open_time timestamptz,
    sums          jsonb NOT NULL DEFAULT '{}',
    made_from     text NOT NULL,
    status        text NOT NULL DEFAULT 'written' CHECK (status IN ('written', 'verified', 'current', 'retired')),
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    verified_at   timestamptz,
    current_at    timestamptz,
    retired_at    timestamptz,
    CHECK (first_open < end_open),
    CHECK ((kind = 'trades') = (timeframe = '')),
    CHECK (status IN ('written', 'retired') OR verified_at IS NOT NULL),
    CHECK ((status = 'retired') = (retired_at IS NOT NULL)),
    CONSTRAINT archive_files_current_never_overlap EXCLUDE USING gist
        (kind WITH =, timeframe WITH =, tstzrange(first_open, end_open) WITH &&) WHERE (status = 'current')
);
CREATE INDEX archive_files_span ON market.archive_files (kind, timeframe, first_open) WHERE status = 'current';
COMMENT ON TABLE market.archive_files IS
    'Parquet files that hold what retention took out of the tables. Where a table has a row of the same key, that one is newer';
COMMENT ON COLUMN market.archive_files.timeframe IS 'Empty for trades';
COMMENT ON COLUMN market.archive_files.end_open IS 'Exclusive; spans are whole months (UTC), of trades whole days';
COMMENT ON COLUMN market.archive_files.base_url IS 'Path or object-store URL that path was relative to when it was written';
COMMENT ON COLUMN market.archive_files.sums IS 'Per column the sum of its values, as read back from the file';
COMMENT ON COLUMN market.archive_files.made_from IS 'Fingerprint of the rows that went in: it is not used once they have changed';
COMMENT ON COLUMN market.archive_files.status IS
    'written (being stored), verified (read back), current (the truth of its span: the rows left their table in the '
    'same transaction), retired (replaced or past its time; the file goes some time later, when nobody reads it any more)';

ALTER TABLE market.coverage ADD COLUMN archived int NOT NULL DEFAULT 0;
COMMENT ON COLUMN market.coverage.archived IS 'Those of the present bars that lie in an archive file alone';
COMMENT ON COLUMN market.coverage.present IS
    'Bars stored, in the table or the archive; present - archived equals count(*) of the table at all times';
