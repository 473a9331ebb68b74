-- A check is ok, bad or unknown, with the figure that it measured and the threshold that it was compared with.
-- depends: 0028.price_updates

ALTER TABLE ops.check_results
    ADD COLUMN status    text NOT NULL DEFAULT 'unknown' CHECK (status IN ('ok', 'bad', 'unknown')),
    ADD COLUMN figure    float8,
    ADD COLUMN threshold text NOT NULL DEFAULT '';
UPDATE ops.check_results SET status = CASE WHEN passed THEN 'ok' ELSE 'bad' END;
COMMENT ON COLUMN ops.check_results.passed IS 'Whether no alert is open because of this check: false while bad, and while a failure is not known to be over';
COMMENT ON COLUMN ops.check_results.status IS 'ok, bad, or unknown: nothing was proven either way';
COMMENT ON COLUMN ops.check_results.figure IS 'What was measured, in the unit of the check; null where it has none';
COMMENT ON COLUMN ops.check_results.threshold IS 'What the figure was compared with, for people';
