-- Whoever keeps answers learns of every change: NOTIFY bars_changed names the series whose coverage cells changed.
-- depends: 0004.archive

-- By trigger and not by the writers, so that nothing can change without a word, whoever writes.
CREATE FUNCTION market.tell_changed_bars() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told text;
BEGIN
    SELECT string_agg(series, ';') INTO told
    FROM (SELECT timeframe || ':' || string_agg(DISTINCT instrument_id::text, ',') AS series
          FROM changed GROUP BY timeframe) AS named;
    IF told IS NOT NULL THEN
        -- a notification holds less than 8,000 bytes; an empty one says: look at all
        PERFORM pg_notify('bars_changed', CASE WHEN length(told) < 7900 THEN told ELSE '' END);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION market.tell_changed_bars IS 'NOTIFY bars_changed with timeframe:id,id;timeframe:id … of changed coverage cells';

CREATE TRIGGER coverage_added AFTER INSERT ON market.coverage
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION market.tell_changed_bars();
CREATE TRIGGER coverage_changed AFTER UPDATE ON market.coverage
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION market.tell_changed_bars();
CREATE TRIGGER coverage_removed AFTER DELETE ON market.coverage
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION market.tell_changed_bars();

CREATE FUNCTION market.tell_any_bars() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('bars_changed', '');
    RETURN NULL;
END $$;
CREATE TRIGGER coverage_emptied AFTER TRUNCATE ON market.coverage
    FOR EACH STATEMENT EXECUTE FUNCTION market.tell_any_bars();
CREATE TRIGGER archive_files_changed AFTER UPDATE OR DELETE ON market.archive_files
    FOR EACH STATEMENT EXECUTE FUNCTION market.tell_any_bars();
