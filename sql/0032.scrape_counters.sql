-- Counters for scrapes, kept where the rows they count do not stay: runs of jobs, alerts, weight of requests.
-- depends: 0003.live

CREATE TABLE ops.job_totals (
    job          text             NOT NULL,
    succeeded    boolean          NOT NULL,
    runs         bigint           NOT NULL DEFAULT 0,
    seconds      double precision NOT NULL DEFAULT 0,
    rows         bigint           NOT NULL DEFAULT 0,
    bars_made    bigint           NOT NULL DEFAULT 0,
    gaps_found   bigint           NOT NULL DEFAULT 0,
    gaps_filled  bigint           NOT NULL DEFAULT 0,
    last_started timestamptz      NOT NULL,
    last_seconds double precision NOT NULL,
    PRIMARY KEY (job, succeeded)
) WITH (fillfactor = 50);
COMMENT ON TABLE ops.job_totals IS 'Sums over all rows that ops.job_metrics ever had; a trigger keeps them';
COMMENT ON COLUMN ops.job_totals.last_started IS 'Of the newest run with this result';

INSERT INTO ops.job_totals
SELECT job, succeeded, count(*), sum(seconds), sum(rows), sum(bars_made), sum(gaps_found), sum(gaps_filled),
       max(started), (array_agg(seconds ORDER BY started DESC))[1]
FROM ops.job_metrics GROUP BY job, succeeded;

CREATE FUNCTION ops.add_to_job_totals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ops.job_totals AS t
    VALUES (NEW.job, NEW.succeeded, 1, NEW.seconds, NEW.rows, NEW.bars_made, NEW.gaps_found, NEW.gaps_filled,
            NEW.started, NEW.seconds)
    ON CONFLICT (job, succeeded) DO UPDATE
    SET runs = t.runs + 1, seconds = t.seconds + excluded.seconds, rows = t.rows + excluded.rows,
        bars_made = t.bars_made + excluded.bars_made, gaps_found = t.gaps_found + excluded.gaps_found,
        gaps_filled = t.gaps_filled + excluded.gaps_filled,
        last_started = greatest(t.last_started, excluded.last_started),
        last_seconds = CASE WHEN excluded.last_started >= t.last_started THEN excluded.last_seconds
                            ELSE t.last_seconds END;
    RETURN NULL;
END
$$;
CREATE TRIGGER add_to_totals AFTER INSERT ON ops.job_metrics FOR EACH ROW EXECUTE FUNCTION ops.add_to_job_totals();

-- Alerts are counted where they stand; only what leaves the table is added up, so that no two writers wait for one row.
CREATE TABLE ops.alerts_removed (
    severity text   PRIMARY KEY,
    alerts   bigint NOT NULL
);
COMMENT ON TABLE ops.alerts_removed IS 'How many alerts were deleted from ops.alerts, by severity; a trigger keeps it';

CREATE FUNCTION ops.count_removed_alerts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ops.alerts_removed AS r
    SELECT severity, count(*) FROM removed GROUP BY severity ORDER BY severity
    ON CONFLICT (severity) DO UPDATE SET alerts = r.alerts + excluded.alerts;
    RETURN NULL;
END
$$;
CREATE TRIGGER count_removed AFTER DELETE ON ops.alerts REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION ops.count_removed_alerts();

ALTER TABLE ops.venue_budgets ADD COLUMN weight_total bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN ops.venue_budgets.weight_total IS 'All weight that was ever booked; a trigger keeps it';

CREATE FUNCTION ops.add_booked_weight() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.weight_total := OLD.weight_total
        + greatest(NEW.used - CASE WHEN NEW.window_index > OLD.window_index THEN 0 ELSE OLD.used END, 0);
    RETURN NEW;
END
$$;
CREATE TRIGGER add_booked_weight BEFORE UPDATE OF used, window_index ON ops.venue_budgets
    FOR EACH ROW EXECUTE FUNCTION ops.add_booked_weight();
