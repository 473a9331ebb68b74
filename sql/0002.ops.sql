-- What the system says of itself: checks, alerts, heartbeats, the venues' request accounts, job figures.
CREATE SCHEMA IF NOT EXISTS ops;

-- The newest result of every check; one row per check and timeframe ('' where a check has none).
CREATE TABLE ops.check_results (
    check_name  text        NOT NULL,
    timeframe   text        NOT NULL DEFAULT '',
    passed      boolean     NOT NULL,
    severity    text        NOT NULL CHECK (severity IN ('info', 'warning', 'error', 'critical')),
    summary     text        NOT NULL,
    detail      jsonb       NOT NULL DEFAULT '{}',
    checked_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- since when the result has been the same
    since       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (check_name, timeframe)
);

-- An alert is open until the thing it is about is well again; then its row stays as history.
CREATE TABLE ops.alerts (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source      text        NOT NULL,
    timeframe   text        NOT NULL DEFAULT '',
    severity    text        NOT NULL CHECK (severity IN ('info', 'warning', 'error', 'critical')),
    summary     text        NOT NULL,
    detail      jsonb       NOT NULL DEFAULT '{}',
    opened_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen   timestamptz NOT NULL DEFAULT clock_timestamp(),
    times_seen  integer     NOT NULL DEFAULT 1,
    resolved_at timestamptz
);
CREATE UNIQUE INDEX alerts_open ON ops.alerts (source, timeframe) WHERE resolved_at IS NULL;
CREATE INDEX alerts_opened ON ops.alerts (opened_at);

-- A venue's request weight, shared by all processes: one fixed window at a time.
CREATE TABLE ops.venue_budgets (
    venue          text             PRIMARY KEY,
    window_limit   integer          NOT NULL CHECK (window_limit > 0),
    window_seconds double precision NOT NULL CHECK (window_seconds > 0),
    share          double precision NOT NULL CHECK (share > 0 AND share <= 1),
    -- seconds by which the venue's windows begin later than by our clock
    phase          double precision NOT NULL DEFAULT 0,
    -- number of the current window: floor((epoch seconds - phase) / window_seconds)
    window_index   bigint           NOT NULL DEFAULT 0,
    used           integer          NOT NULL DEFAULT 0,
    used_before    integer          NOT NULL DEFAULT 0,
    paused_until   timestamptz
) WITH (fillfactor = 50);

-- A holder of some duty says that it lives; whoever supervises it judges by this row only.
CREATE TABLE ops.heartbeats (
    name    text        PRIMARY KEY,
    holder  text        NOT NULL,
    started timestamptz NOT NULL,
    beat    timestamptz NOT NULL,
    detail  jsonb       NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);

-- What a job did and how long it took.
CREATE TABLE ops.job_metrics (
    id       bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job      text             NOT NULL,
    run_id   text,
    started  timestamptz      NOT NULL,
    seconds  double precision NOT NULL,
    rows     bigint           NOT NULL DEFAULT 0,
    succeeded boolean         NOT NULL,
    detail   jsonb            NOT NULL DEFAULT '{}'
);
CREATE INDEX job_metrics_recent ON ops.job_metrics (job, started);
