-- Macro series: what is collected, every vintage of their values with the time since when it was public, and releases.
-- depends: 0020.views_of_the_market

CREATE TABLE market.macro_series (
    series_id           text PRIMARY KEY,
    name                text NOT NULL UNIQUE,
    zone                text NOT NULL,
    active              boolean NOT NULL DEFAULT true,
    title               text NOT NULL DEFAULT '',
    units               text NOT NULL DEFAULT '',
    frequency           text NOT NULL DEFAULT '',
    seasonal_adjustment text NOT NULL DEFAULT '',
    release_id          integer,
    release_name        text,
    has_vintages        boolean,
    last_updated        timestamptz,
    calendar_at         timestamptz,
    looked_at           timestamptz,
    collected_at        timestamptz,
    attempts            integer NOT NULL DEFAULT 0,
    next_attempt        timestamptz,
    problem             text,
    added_at            timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE market.macro_series IS 'Macro series that are or were collected, with the state of their collection';
COMMENT ON COLUMN market.macro_series.name IS 'What readers ask for: CPI; the id of FRED where it has no other';
COMMENT ON COLUMN market.macro_series.zone IS 'Where a day of a vintage begins and ends';
COMMENT ON COLUMN market.macro_series.frequency IS 'As FRED writes it: D, W, BW, M, Q, SA, A';
COMMENT ON COLUMN market.macro_series.has_vintages IS 'Whether past vintages were stated; false: values are known only since they were fetched; null: never fetched';
COMMENT ON COLUMN market.macro_series.last_updated IS 'When the source last changed the series, as of what is stored; null: to be fetched in any case';
COMMENT ON COLUMN market.macro_series.calendar_at IS 'When the release calendar was last asked for, by the market''s clock';
COMMENT ON COLUMN market.macro_series.looked_at IS 'When the source last answered whether there is news, by the market''s clock';
COMMENT ON COLUMN market.macro_series.collected_at IS 'When observations were last stored as stated, by the market''s clock; null: never';
COMMENT ON COLUMN market.macro_series.attempts IS 'Failures in a row';
COMMENT ON COLUMN market.macro_series.next_attempt IS 'Not asked before this, after failures';
COMMENT ON COLUMN market.macro_series.problem IS 'Why the last look failed, or what of it was refused; null: it did not, nothing was';

CREATE TABLE market.macro_observations (
    series_id     text NOT NULL REFERENCES market.macro_series,
    period        date NOT NULL,
    vintage_start date NOT NULL,
    vintage_end   date CHECK (vintage_end >= vintage_start),
    value         float8 CHECK (value > '-Infinity' AND value < 'Infinity'),
    available_at  timestamptz NOT NULL,
    basis         text NOT NULL CHECK (basis IN ('release', 'day_end', 'observed')),
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (series_id, period, vintage_start)
);
COMMENT ON TABLE market.macro_observations IS 'Values of macro series: one row per period and vintage';
COMMENT ON COLUMN market.macro_observations.period IS 'First day of the period';
COMMENT ON COLUMN market.macro_observations.vintage_start IS 'First day on which this was the newest value, in the zone of the series';
COMMENT ON COLUMN market.macro_observations.vintage_end IS 'Last such day; null: it still is the newest';
COMMENT ON COLUMN market.macro_observations.value IS 'In the units of the series; null: the source states that there is none';
COMMENT ON COLUMN market.macro_observations.available_at IS 'The value may be used from this moment on';
COMMENT ON COLUMN market.macro_observations.basis IS 'How that is known: hour of a release, end of the day of the vintage, or the time at which it was fetched';
CREATE INDEX macro_newest ON market.macro_observations (series_id, period) WHERE vintage_end IS NULL;

CREATE TABLE market.macro_replaced (
    replaced_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_id     text NOT NULL REFERENCES market.macro_series,
    period        date NOT NULL,
    vintage_start date NOT NULL,
    vintage_end   date,
    value         float8,
    available_at  timestamptz NOT NULL,
    basis         text NOT NULL,
    replaced_at   timestamptz NOT NULL
);
COMMENT ON TABLE market.macro_replaced IS 'Observations as they were before the source stated another value for the same vintage; reads as of a time before that still see them';
COMMENT ON COLUMN market.macro_replaced.replaced_at IS 'When the other value was fetched, by the market''s clock';
CREATE INDEX macro_replaced_series ON market.macro_replaced (series_id, replaced_at);

CREATE TABLE market.macro_releases (
    release_id   integer NOT NULL,
    release_date date NOT NULL,
    PRIMARY KEY (release_id, release_date)
);
COMMENT ON TABLE market.macro_releases IS 'Release calendar: days on which a release was or will be published';
