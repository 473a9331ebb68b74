-- Reports that were made: one of each kind and local date, with all that it says.
-- depends: 0030.notifications

CREATE TABLE ops.reports (
    report     text        NOT NULL,
    -- the date in the time zone of the reports
    local_date date        NOT NULL,
    time_zone  text        NOT NULL,
    span_start timestamptz NOT NULL,
    span_end   timestamptz NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    content    jsonb       NOT NULL,
    -- the HTML file on the machine that made it
    file       text        NOT NULL,
    PRIMARY KEY (report, local_date)
);
