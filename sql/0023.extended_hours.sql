-- Bars outside of the sessions of their exchange: they are stored, and never expected.
-- depends: 0022.corporate_actions

ALTER TABLE market.coverage ADD COLUMN outside int NOT NULL DEFAULT 0;
COMMENT ON COLUMN market.coverage.outside IS
    'Bars outside of the sessions of the exchange, of extended hours: part of present and, once they are there, of expected';
