-- Scores of forecasts: what came, and how far it was from what had been published.
-- depends: 0039.forecasts

CREATE TABLE research.forecast_scores (
    forecast_id   bigint PRIMARY KEY REFERENCES research.forecasts ON DELETE CASCADE,
    scored_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen          float8[] NOT NULL,
    pinball       float8[] NOT NULL,
    naive_pinball float8[] NOT NULL,
    inside_80     boolean[] NOT NULL,
    inside_95     boolean[] NOT NULL
);
COMMENT ON TABLE research.forecast_scores IS 'Every forecast is scored once, after its last target; never changed afterwards. One element per step; null where no bar came';
COMMENT ON COLUMN research.forecast_scores.seen IS 'Change of the log price from the anchor to each target, on one basis where a stock was split in between';
COMMENT ON COLUMN research.forecast_scores.pinball IS 'Mean pinball loss over the five quantiles';
COMMENT ON COLUMN research.forecast_scores.naive_pinball IS 'The same of the naive candidate';
COMMENT ON COLUMN research.forecast_scores.inside_80 IS 'Whether the 80 % interval held it';

-- For people and tools: accuracy by horizon and step, from scores alone.
CREATE VIEW research.forecast_accuracy AS
SELECT f.horizon, o.step, count(o.seen) AS forecasts,
       avg(o.inside_80::int)::float8 AS coverage_80, avg(o.inside_95::int)::float8 AS coverage_95,
       avg(o.pinball) AS pinball, avg(o.naive_pinball) AS naive_pinball
FROM research.forecast_scores s
JOIN research.forecasts f USING (forecast_id)
CROSS JOIN LATERAL unnest(s.seen, s.pinball, s.naive_pinball, s.inside_80, s.inside_95)
    WITH ORDINALITY AS o (seen, pinball, naive_pinball, inside_80, inside_95, step)
GROUP BY f.horizon, o.step;
COMMENT ON VIEW research.forecast_accuracy IS 'Coverage and pinball loss of matured forecasts by horizon and step';
