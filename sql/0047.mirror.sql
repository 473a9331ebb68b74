-- The mirror: closed days of bars, features and labels as Parquet files beside the tables, which stay the truth.
-- depends: 0046.comments

CREATE SCHEMA lake;
COMMENT ON SCHEMA lake IS 'Copies of closed days as files, for long reads and other engines; all of it can be made again';

CREATE TABLE lake.files (
    file_id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rows               bigint NOT NULL CHECK (rows > 0),
    bytes              bigint NOT NULL CHECK (bytes > 0),
    newest_recorded_at timestamptz,
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    verified_at        timestamptz,
    current_at         timestamptz,
    retired_at         timestamptz,
    suspected_at       timestamptz,
    proven_at          timestamptz,
    instrument_id      int REFERENCES market.instruments,
    first_day          date NOT NULL,
    end_day            date NOT NULL,
    schema_version     int NOT NULL DEFAULT 1,
    dataset            text COLLATE "C" NOT NULL CHECK (dataset IN ('bars', 'features', 'labels')),
    series             text COLLATE "C" NOT NULL,
    base_url           text NOT NULL,
    path               text NOT NULL,
    sha256             text NOT NULL,
    status             text NOT NULL DEFAULT 'written' CHECK (status IN ('written', 'verified', 'current', 'retired')),
    fault              text,
    CHECK (first_day < end_day),
    CHECK ((dataset = 'features') = (series = '')),
    CHECK (status IN ('written', 'retired') OR verified_at IS NOT NULL),
    CHECK (status <> 'current' OR current_at IS NOT NULL),
    CHECK ((status = 'retired') = (retired_at IS NOT NULL)),
    UNIQUE (base_url, path)
);
CREATE INDEX files_current ON lake.files (dataset, series, first_day) WHERE status = 'current';
COMMENT ON TABLE lake.files IS
    'Files of the mirror. A file is here before its first byte is stored, and until its last one is gone';
COMMENT ON COLUMN lake.files.rows IS 'Rows in the file';
COMMENT ON COLUMN lake.files.bytes IS 'Size of the file';
COMMENT ON COLUMN lake.files.newest_recorded_at IS
    'When the newest change of its days was recorded: a read as of an earlier moment may not use the file; null: of features, which have no history';
COMMENT ON COLUMN lake.files.created_at IS 'When it was catalogued, before it was stored';
COMMENT ON COLUMN lake.files.verified_at IS 'When it was read back and compared';
COMMENT ON COLUMN lake.files.current_at IS 'When the first day was switched to it';
COMMENT ON COLUMN lake.files.retired_at IS 'When the last day left it; it is deleted an hour later';
COMMENT ON COLUMN lake.files.suspected_at IS 'When a reader found it missing or damaged; null: nobody did since its last proof';
COMMENT ON COLUMN lake.files.proven_at IS 'When all of it was last hashed, after it was verified';
COMMENT ON COLUMN lake.files.instrument_id IS 'The one instrument in the file; null: several';
COMMENT ON COLUMN lake.files.first_day IS 'First UTC day of its span';
COMMENT ON COLUMN lake.files.end_day IS 'End of its span, exclusive';
COMMENT ON COLUMN lake.files.schema_version IS 'Rises with the columns or encodings of files';
COMMENT ON COLUMN lake.files.dataset IS 'bars, features or labels';
COMMENT ON COLUMN lake.files.series IS 'Of bars the timeframe, of labels strategy/params_hash, of features empty';
COMMENT ON COLUMN lake.files.base_url IS 'Folder or object-store URL that path is relative to';
COMMENT ON COLUMN lake.files.path IS 'Unique: no other file ever had or will have it';
COMMENT ON COLUMN lake.files.sha256 IS 'Hash of its bytes';
COMMENT ON COLUMN lake.files.status IS
    'written (being stored), verified (read back), current (days are read from it), retired (no day is; readers of before may still read it)';
COMMENT ON COLUMN lake.files.fault IS 'Why it was taken out of use: damaged or missing; its days are read from the table until another file has them';

CREATE TABLE lake.days (
    version       bigint NOT NULL,
    file_id       bigint NOT NULL REFERENCES lake.files,
    instrument_id int    NOT NULL REFERENCES market.instruments,
    day           date   NOT NULL,
    rows          int    NOT NULL CHECK (rows > 0),
    dataset       text   COLLATE "C" NOT NULL,
    series        text   COLLATE "C" NOT NULL,
    PRIMARY KEY (dataset, series, instrument_id, day)
);
CREATE INDEX days_of_file ON lake.days (file_id);
COMMENT ON TABLE lake.days IS
    'Which file has each mirrored cell. The file is read if version and rows equal those of the cell now, else the table';
COMMENT ON COLUMN lake.days.version IS
    'Version of the cell whose rows the file has: data_version, feature_version or label_version';
COMMENT ON COLUMN lake.days.file_id IS 'The file, which is current';
COMMENT ON COLUMN lake.days.day IS 'UTC day; of weekly bars the Monday';
COMMENT ON COLUMN lake.days.rows IS
    'Rows of the cell in the file. Retention takes rows away without a new version: then present, rows or labels of the cell differs';
COMMENT ON COLUMN lake.days.dataset IS 'As in lake.files';
COMMENT ON COLUMN lake.days.series IS 'As in lake.files';

-- Which database a folder of the mirror belongs to: two that shared one would delete each other's files.
CREATE TABLE lake.owner (
    token text NOT NULL DEFAULT gen_random_uuid()::text,
    alone boolean PRIMARY KEY DEFAULT true CHECK (alone)
);
INSERT INTO lake.owner DEFAULT VALUES;
COMMENT ON TABLE lake.owner IS 'The mark of this database in the folders of its mirror';
COMMENT ON COLUMN lake.owner.token IS 'Written into each folder; another database''s is refused';
COMMENT ON COLUMN lake.owner.alone IS 'Always true: there is one row';
