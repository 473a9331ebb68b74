"""Columns of the tables of models, as the asset pages show them."""

from crypto_pipeline.defs.base import metadata

MODELS = metadata.table_schema(
    metadata.columns(
        """
        model_id             text         First 16 digits of sha256.
        strategy             text         Whose setups it judges.
        status               text         candidate, or blocked: no test may promote it.
        blocked_because      text[]       What its safeguards found.
        created_at           timestamptz  When it was stored.
        trained_from         timestamptz  First signal that it learned from.
        trained_until        timestamptz  End of the last label that it learned from: its age counts from here.
        holdout_from         timestamptz  First signal on which it may be judged.
        holdout_until        timestamptz  First signal after those on which it may be judged.
        feature_schema_hash  text         How its inputs are computed.
        params_hash          text         Parameter set on whose events it is judged and used.
        loose_hash           text         Wider parameter set on which it learned.
        input_names          text[]       Its inputs, in order.
        metrics              jsonb        Figures per fold, out of fold and of the hold-out; curves; findings.
        manifest             jsonb        What gives the same training set, byte for byte, and the settings.
        sha256               text         Of document.
        document             text         The model: LightGBM text, calibrator, probe rows, importances, versions.
        """
    ),
    "trained model",
)
PREDICTIONS = metadata.table_schema(
    metadata.columns(
        """
        signal_ts            timestamptz  Open of the signal bar, as of the labels.
        instrument_id        int          Of market.instruments.
        strategy             text         Whose setup it is.
        made_at              timestamptz  When it was stored.
        live                 bool         Right after the features of the signal bar; false: made good afterwards.
        probability          float8       That the net return is above 0; null where the model refused.
        raw                  float8       Score before calibration, log-odds.
        p_star               float8       Probability at which nothing is won or lost.
        decision             text         take or skip.
        size_factor          float8       By which the size is multiplied.
        ml_mode              text         What predictions were used for: off, boost or gate.
        model_id             text         The model that predicted or refused.
        params_hash          text         Parameter set of the setup, and of the label that tells what came of it.
        feature_schema_hash  text         How the inputs were computed.
        refused              text         Why the model refused, in a word.
        refusal              text         The same in a sentence.
        inputs               float8[]     In the order of the model's input_names.
        contributions        float8[]     What each input adds to raw, then the base value.
        """
    ),
    "(instrument, signal_ts, strategy)",
)
