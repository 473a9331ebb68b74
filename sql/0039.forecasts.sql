-- Forecasts: what was fitted to the bars of each series, and every forecast as it was published.
-- depends: 0035.message_counters

CREATE TABLE research.forecast_fits (
    fit_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fitted_to     timestamptz NOT NULL,
    made_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    instrument_id int REFERENCES market.instruments,
    series_id     text REFERENCES market.macro_series,
    horizon       text COLLATE "C" NOT NULL CHECK (horizon IN ('1h', '1d', '1w', 'release')),
    model         text COLLATE "C" NOT NULL CHECK (model IN ('naive', 'drift', 'ets')),
    fit           jsonb NOT NULL,
    digest        text COLLATE "C" NOT NULL,
    CHECK (num_nonnulls(instrument_id, series_id) = 1),
    UNIQUE NULLS NOT DISTINCT (instrument_id, series_id, horizon, fitted_to, digest)
);
CREATE INDEX forecast_fits_newest ON research.forecast_fits (horizon, fitted_to DESC);
COMMENT ON TABLE research.forecast_fits IS 'Per series and horizon what was fitted to its bars every night: the chosen candidate with its parameters, and the quantiles of its errors';
COMMENT ON COLUMN research.forecast_fits.fitted_to IS 'Close of the newest bar that was used';
COMMENT ON COLUMN research.forecast_fits.series_id IS 'The macro series, where it is not about an instrument';
COMMENT ON COLUMN research.forecast_fits.fit IS 'Slope, smoothing parameters and states, offsets of the quantiles by step, losses of all candidates on rolling origins, and why this one was chosen';
COMMENT ON COLUMN research.forecast_fits.digest IS 'Of the fit: the same fit is stored once';

CREATE TABLE research.forecasts (
    forecast_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fit_id        bigint NOT NULL REFERENCES research.forecast_fits ON DELETE CASCADE,
    moment        timestamptz NOT NULL,
    expires       timestamptz NOT NULL,
    made_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    anchor        float8 NOT NULL,
    instrument_id int REFERENCES market.instruments,
    series_id     text REFERENCES market.macro_series,
    horizon       text COLLATE "C" NOT NULL CHECK (horizon IN ('1h', '1d', '1w', 'release')),
    model         text COLLATE "C" NOT NULL CHECK (model IN ('naive', 'drift', 'ets')),
    direction     text COLLATE "C" NOT NULL CHECK (direction IN ('UP', 'DOWN', 'HOLD')),
    targets       timestamptz[] NOT NULL,
    quantiles     real[] NOT NULL CHECK (cardinality(quantiles) = 5 * cardinality(targets)),
    naive         real[] CHECK (cardinality(naive) = cardinality(quantiles)),
    CHECK (num_nonnulls(instrument_id, series_id) = 1),
    CHECK ((naive IS NULL) = (model = 'naive')),
    UNIQUE NULLS NOT DISTINCT (instrument_id, series_id, horizon, moment)
);
CREATE INDEX forecasts_expires ON research.forecasts (expires);
CREATE INDEX forecasts_fit ON research.forecasts (fit_id);
COMMENT ON TABLE research.forecasts IS 'Every forecast as it was published, once per series, horizon and close of a bar; never changed afterwards';
COMMENT ON COLUMN research.forecasts.moment IS 'Close of the newest bar that was used';
COMMENT ON COLUMN research.forecasts.expires IS 'The last of its targets';
COMMENT ON COLUMN research.forecasts.anchor IS 'Close of that bar, in the quote asset as it was traded; of a macro series its newest value';
COMMENT ON COLUMN research.forecasts.direction IS 'Of the last step: HOLD where the 80 % interval holds no change';
COMMENT ON COLUMN research.forecasts.targets IS 'The closes that it is about, one per step';
COMMENT ON COLUMN research.forecasts.quantiles IS 'Step after step the quantiles 0.025, 0.1, 0.5, 0.9, 0.975 of the change of the log price from the anchor to the target; of a macro series in percent the change of its value';
COMMENT ON COLUMN research.forecasts.naive IS 'The same of the naive candidate, which it is compared with; null where that was published';
