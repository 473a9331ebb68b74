-- Predictions: each decided once, with everything that it was decided from.
-- depends: 0037.models

CREATE TABLE research.predictions (
    signal_ts           timestamptz NOT NULL,
    made_at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    probability         float8 CHECK (probability > 0 AND probability < 1),
    raw                 float8,
    p_star              float8,
    size_factor         float8      NOT NULL CHECK (size_factor >= 0),
    instrument_id       int         NOT NULL REFERENCES market.instruments,
    live                boolean     NOT NULL,
    strategy            text        NOT NULL,
    model_id            text        NOT NULL,
    params_hash         text        NOT NULL,
    feature_schema_hash text        NOT NULL,
    ml_mode             text        NOT NULL CHECK (ml_mode IN ('off', 'boost', 'gate')),
    decision            text        NOT NULL CHECK (decision IN ('take', 'skip')),
    refused             text,
    refusal             text,
    inputs              float8[]    NOT NULL,
    contributions       float8[],
    PRIMARY KEY (instrument_id, signal_ts, strategy),
    FOREIGN KEY (strategy, model_id) REFERENCES research.models (strategy, model_id),
    CHECK ((refused IS NULL) = (probability IS NOT NULL AND raw IS NOT NULL AND p_star IS NOT NULL)),
    CHECK ((refused IS NULL) = (refusal IS NULL)),
    -- without a usable model every mode is off: the rules alone decide
    CHECK (refused IS NULL OR (decision = 'take' AND size_factor = 1)),
    CHECK (contributions IS NULL OR cardinality(contributions) = cardinality(inputs) + 1)
);
CREATE INDEX predictions_time ON research.predictions (strategy, signal_ts);
COMMENT ON TABLE research.predictions IS 'One row per setup of the default set that was found while its strategy had a model; rows never change';
COMMENT ON COLUMN research.predictions.signal_ts IS 'Open of the signal bar, as of the labels';
COMMENT ON COLUMN research.predictions.probability IS 'That the net return is above 0; null where the model refused';
COMMENT ON COLUMN research.predictions.raw IS 'Score of the model before calibration, log-odds';
COMMENT ON COLUMN research.predictions.p_star IS 'Probability at which nothing is won or lost, of the strategy and tier';
COMMENT ON COLUMN research.predictions.size_factor IS 'By which the size is multiplied: 0.5 to 1.5 in the mode boost, else 1';
COMMENT ON COLUMN research.predictions.live IS 'Made right after the features of the signal bar; false: made afterwards';
COMMENT ON COLUMN research.predictions.params_hash IS 'Of the label parameters whose setup it is: what came of it is the label with the same';
COMMENT ON COLUMN research.predictions.refused IS 'Why the model refused, in one word; refusal says it in a sentence';
COMMENT ON COLUMN research.predictions.inputs IS 'Values in the order of input_names of the model; null where an input was null; empty where it has no such row';
COMMENT ON COLUMN research.predictions.contributions IS 'What each input adds to raw, then the base value: their sum is raw';
