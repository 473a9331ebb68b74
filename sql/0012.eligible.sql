-- A day that was stated flat, or filled, is no day that may be learnt from.
-- depends: 0009.changes

COMMENT ON COLUMN research.ml_features.eligible IS 'At most 5 % of the last 96 bars are missing, and something traded in at least half of them';
