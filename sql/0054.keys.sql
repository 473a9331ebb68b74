-- A key that meets its superseded row is not worth a search for duplicates: the row goes when its transaction is over.
-- depends: 0001.market

DO $$
DECLARE
    key regclass;
BEGIN
    FOR key IN
        SELECT i.indexrelid FROM pg_partition_tree('market.ohlc_data') AS t
        JOIN pg_index i ON i.indrelid = t.relid
        WHERE t.isleaf AND i.indisprimary
    LOOP
        EXECUTE format('ALTER INDEX %s SET (deduplicate_items = off)', key);
    END LOOP;
END
$$;
