-- Costs by what an order is for: what a label's net return takes off.
-- depends: 0035.message_counters

COMMENT ON COLUMN research.strategy_dca_labels.net_return IS
    'gross_return less slippage of what is sent to the market (first entry, stop, end of the horizon) and fees on both sides; labels of earlier methods, under their own params_hash, less slippage at the entry alone';
COMMENT ON COLUMN research.strategy_swing_labels.net_return IS
    'gross_return less slippage of what is sent to the market (entry, stop, end of the horizon) and fees on both sides; labels of earlier methods, under their own params_hash, less slippage at the entry alone';
COMMENT ON COLUMN research.strategy_channel_labels.net_return IS
    'gross_return less slippage of what is sent to the market (entry, stop, end of the horizon) and fees on both sides; labels of earlier methods, under their own params_hash, less slippage at the entry alone';
