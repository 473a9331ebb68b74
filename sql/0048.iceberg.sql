-- Iceberg tables over the files of mirror and archive: the catalogue that other engines ask, and the files in use by it.
-- depends: 0047.mirror

CREATE SCHEMA iceberg;
COMMENT ON SCHEMA iceberg IS 'Catalogue of Iceberg tables over the files of mirror and archive; all of it can be made again';

-- As the catalogue of Iceberg's JDBC standard wants them, version 1.
CREATE TABLE iceberg.iceberg_tables (
    catalog_name               varchar(255) NOT NULL,
    table_namespace            varchar(255) NOT NULL,
    table_name                 varchar(255) NOT NULL,
    metadata_location          varchar(1000),
    previous_metadata_location varchar(1000),
    iceberg_type               varchar(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name)
);
COMMENT ON TABLE iceberg.iceberg_tables IS 'One row per Iceberg table; engines find it by the file of its metadata';
COMMENT ON COLUMN iceberg.iceberg_tables.catalog_name IS 'Always lake';
COMMENT ON COLUMN iceberg.iceberg_tables.table_namespace IS 'market or research';
COMMENT ON COLUMN iceberg.iceberg_tables.table_name IS 'bars_1m, revisions_1m, trades, features, labels_swing …';
COMMENT ON COLUMN iceberg.iceberg_tables.metadata_location IS 'The file that describes the table as it is now';
COMMENT ON COLUMN iceberg.iceberg_tables.previous_metadata_location IS 'The file before the last commit';
COMMENT ON COLUMN iceberg.iceberg_tables.iceberg_type IS 'TABLE; null means the same';

CREATE TABLE iceberg.iceberg_namespace_properties (
    catalog_name   varchar(255)  NOT NULL,
    namespace      varchar(255)  NOT NULL,
    property_key   varchar(255)  NOT NULL,
    property_value varchar(1000) NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key)
);
COMMENT ON TABLE iceberg.iceberg_namespace_properties IS 'Namespaces of Iceberg tables and their properties';
COMMENT ON COLUMN iceberg.iceberg_namespace_properties.catalog_name IS 'Always lake';
COMMENT ON COLUMN iceberg.iceberg_namespace_properties.namespace IS 'market or research';
COMMENT ON COLUMN iceberg.iceberg_namespace_properties.property_key IS 'exists, for a namespace without properties';
COMMENT ON COLUMN iceberg.iceberg_namespace_properties.property_value IS 'Its value';

CREATE TABLE iceberg.listed_files (
    listed_at  timestamptz,
    left_at    timestamptz,
    base_url   text NOT NULL,
    path       text NOT NULL,
    table_name text NOT NULL,
    PRIMARY KEY (base_url, path, table_name)
);
COMMENT ON TABLE iceberg.listed_files IS
    'Files that a snapshot of an Iceberg table lists, or is about to: mirror and archive do not delete them for a week';
COMMENT ON COLUMN iceberg.listed_files.listed_at IS 'Since when the table lists it; null: it is about to';
COMMENT ON COLUMN iceberg.listed_files.left_at IS 'Since when only earlier snapshots list it; null: the present one does';
COMMENT ON COLUMN iceberg.listed_files.base_url IS 'As in lake.files and market.archive_files';
COMMENT ON COLUMN iceberg.listed_files.path IS 'As in lake.files and market.archive_files';
COMMENT ON COLUMN iceberg.listed_files.table_name IS 'Namespace and name of the Iceberg table';
