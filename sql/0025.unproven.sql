-- Absent bars of a venue that may leave out bars although something was traded, until its trades show which it was.
-- depends: 0024.venues

ALTER TABLE market.gaps DROP CONSTRAINT gaps_state_check;
ALTER TABLE market.gaps ADD CONSTRAINT gaps_state_check CHECK (state IN
    ('pending', 'lost', 'unproven', 'no_trade', 'venue_outage', 'not_listed', 'delisted', 'unfillable', 'healed'));

DROP INDEX market.gaps_due;
CREATE INDEX gaps_due ON market.gaps (next_attempt)
    WHERE closed_at IS NULL AND state IN ('pending', 'lost', 'unproven');

COMMENT ON COLUMN market.gaps.state IS
    'pending (too early), lost (ours, to be fetched), unproven (the venue does not show whether anything was traded), no_trade, venue_outage, not_listed, delisted, unfillable (these explain), healed (closed)';
