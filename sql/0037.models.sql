-- Models that were trained, which of them is in use, and why.
-- depends: 0035.message_counters

CREATE TABLE research.models (
    model_id            text        NOT NULL CHECK (model_id ~ '^[0-9a-f]{16}$'),
    strategy            text        NOT NULL,
    status              text        NOT NULL CHECK (status IN ('candidate', 'blocked')),
    blocked_because     text[]      NOT NULL DEFAULT '{}',
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    trained_from        timestamptz NOT NULL,
    trained_until       timestamptz NOT NULL,
    holdout_from        timestamptz NOT NULL,
    holdout_until       timestamptz NOT NULL,
    feature_schema_hash text        NOT NULL,
    params_hash         text        NOT NULL,
    loose_hash          text        NOT NULL,
    input_names         text[]      NOT NULL,
    metrics             jsonb       NOT NULL,
    manifest            jsonb       NOT NULL,
    sha256              text        NOT NULL CHECK (starts_with(sha256, model_id)),
    document            text        NOT NULL,
    PRIMARY KEY (model_id),
    UNIQUE (strategy, model_id),
    CHECK (trained_from < trained_until AND trained_until <= holdout_from AND holdout_from < holdout_until)
);
CREATE INDEX models_time ON research.models (strategy, created_at);
COMMENT ON TABLE research.models IS 'Every model that was trained, as it was trained; rows never change';
COMMENT ON COLUMN research.models.status IS 'candidate; or blocked: it may not be promoted by a test, see blocked_because';
COMMENT ON COLUMN research.models.trained_until IS 'End of the last label that it learned from: its age counts from here';
COMMENT ON COLUMN research.models.holdout_from IS 'From here to holdout_until are the signals on which it may be judged: it learned from none of them';
COMMENT ON COLUMN research.models.input_names IS 'Names of what it is given, in the order of the inputs of its predictions';
COMMENT ON COLUMN research.models.sha256 IS 'Of document; its first 16 digits are model_id';
COMMENT ON COLUMN research.models.document IS 'The model as canonical JSON: model text, calibrator, inputs, probe rows, importances, versions, seed';

CREATE TABLE research.model_aliases (
    strategy text        NOT NULL,
    alias    text        NOT NULL CHECK (alias IN ('champion', 'challenger', 'previous')),
    model_id text        NOT NULL,
    since    timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- the same in the market's time, which a replayed market has of its own
    since_market timestamptz NOT NULL,
    PRIMARY KEY (strategy, alias),
    FOREIGN KEY (strategy, model_id) REFERENCES research.models (strategy, model_id)
);
COMMENT ON TABLE research.model_aliases IS 'champion: the model in use; previous: the one before it; challenger: the newest that was trained';
COMMENT ON COLUMN research.model_aliases.since_market IS 'Since when, by the market''s clock';

CREATE TABLE research.model_decisions (
    decision_id   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    strategy      text        NOT NULL,
    kind          text        NOT NULL CHECK (kind IN ('test', 'forced', 'rollback')),
    promoted      boolean     NOT NULL,
    decided_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    market_time   timestamptz NOT NULL,
    model_id      text        NOT NULL,
    incumbent_id  text,
    holdout_from  timestamptz,
    holdout_until timestamptz,
    figures       jsonb       NOT NULL DEFAULT '{}',
    reasons       text[]      NOT NULL DEFAULT '{}',
    reason        text,
    decided_by    text,
    FOREIGN KEY (strategy, model_id) REFERENCES research.models (strategy, model_id),
    FOREIGN KEY (strategy, incumbent_id) REFERENCES research.models (strategy, model_id),
    -- a test names its hold-out, a person their name and reason
    CHECK (CASE WHEN kind = 'test' THEN holdout_from < holdout_until AND reason IS NULL
           ELSE promoted AND reason <> '' AND decided_by <> '' END)
);
CREATE UNIQUE INDEX model_decisions_holdout ON research.model_decisions (strategy, holdout_from) WHERE kind = 'test';
CREATE INDEX model_decisions_time ON research.model_decisions (strategy, decided_at);
COMMENT ON TABLE research.model_decisions IS 'Every decision about which model is in use, whichever way it went';
COMMENT ON COLUMN research.model_decisions.kind IS 'test: on a hold-out that no earlier test used; forced and rollback: by a person';
COMMENT ON COLUMN research.model_decisions.figures IS 'All figures that a test was decided by';
COMMENT ON COLUMN research.model_decisions.reasons IS 'Of a test: what spoke against the model; empty where it was promoted';
COMMENT ON COLUMN research.model_decisions.reason IS 'Of a person''s decision: why';

CREATE TABLE research.model_runs (
    run_id        bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    strategy      text             NOT NULL,
    status        text             NOT NULL CHECK (status IN ('trained', 'insufficient_data', 'failed')),
    started_at    timestamptz      NOT NULL,
    seconds       double precision NOT NULL,
    market_time   timestamptz      NOT NULL,
    model_id      text,
    missing       jsonb            NOT NULL DEFAULT '[]',
    sufficient_at timestamptz,
    detail        jsonb            NOT NULL DEFAULT '{}',
    error         text,
    FOREIGN KEY (strategy, model_id) REFERENCES research.models (strategy, model_id),
    CHECK ((status = 'trained') = (model_id IS NOT NULL)),
    CHECK ((status = 'failed') = (error IS NOT NULL))
);
CREATE INDEX model_runs_time ON research.model_runs (strategy, run_id);
COMMENT ON TABLE research.model_runs IS 'What became of every training';
COMMENT ON COLUMN research.model_runs.missing IS 'Of insufficient_data: what there is too little of';
COMMENT ON COLUMN research.model_runs.sufficient_at IS 'When it will suffice at the present rate; null: not known';
