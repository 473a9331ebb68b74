-- Instruments of several venues in one database: each belongs to the venue whose series it is.
-- depends: 0020.views_of_the_market

ALTER TABLE market.instruments ADD COLUMN venue text;
COMMENT ON COLUMN market.instruments.venue IS
    'The venue whose series this is; null: stored by an earlier version, set at the next start to the setting venue';
COMMENT ON COLUMN market.instruments.symbol IS
    'Canonical name: BASE-QUOTE for crypto, the ticker otherwise; with @venue where another venue has the plain name';
