-- What the columns of the market, of research, of the lake and of trading mean, where nothing said so yet.
-- depends: 0052.looks

CREATE FUNCTION pg_temp.explain(relations text, about jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT c.oid::regclass AS relation, a.attname, about ->> a.attname AS meaning
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE (n.nspname || '.' || c.relname) LIKE relations AND c.relkind IN ('r', 'p', 'v', 'm')
          AND NOT c.relispartition AND about ? a.attname AND col_description(c.oid, a.attnum) IS NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', one.relation, one.attname, one.meaning);
    END LOOP;
END $$;

-- columns of views mean what they mean in the table that they come from
DO $$
DECLARE
    one record;
    copied text;
BEGIN
    FOR one IN
        SELECT * FROM (VALUES ('market.ledger', 'market.gaps'), ('research.features', 'research.ml_features'),
                              ('market.macro_replaced', 'market.macro_observations')) AS v (copy, original)
    LOOP
        SELECT format('SELECT pg_temp.explain(%L, %L)', one.copy,
                      coalesce(jsonb_object_agg(a.attname, col_description(a.attrelid, a.attnum)), '{}'))
        INTO copied FROM pg_attribute a
        WHERE a.attrelid = one.original::regclass AND a.attnum > 0
          AND col_description(a.attrelid, a.attnum) IS NOT NULL;
        EXECUTE copied;
    END LOOP;
END $$;

SELECT pg_temp.explain('lake.%', '{
    "instrument_id": "Of market.instruments",
    "file_id": "Number of the file"
}');
SELECT pg_temp.explain('market.archive_files', '{
    "archive_id": "Number of the file",
    "kind": "bars, revisions or trades",
    "first_open": "Begin of its span, UTC",
    "min_open_time": "Open time of its first bar, or time of its first trade, UTC; null: it has no rows",
    "max_open_time": "Open time of its last bar, or time of its last trade, UTC; null: it has no rows",
    "created_at": "When it was written",
    "verified_at": "When it was read back and found equal; null: not yet",
    "current_at": "Since when reads use it; null: not yet",
    "retired_at": "Since when reads no longer use it; null: they do, or will"
}');
SELECT pg_temp.explain('market.corporate_actions', '{
    "action_id": "Number of the statement",
    "kind": "split, dividend or rename",
    "split_from": "Shares before a split, for split_to shares after it",
    "split_to": "Shares after a split",
    "currency": "Of the amount of a dividend",
    "old_symbol": "Name before a rename",
    "new_symbol": "Name after a rename"
}');
SELECT pg_temp.explain('market.failovers', '{
    "failover_id": "Number of the span",
    "because": "What the first venue said, or where the two contradict each other",
    "taken_at": "When bars of the other venue were stored"
}');
SELECT pg_temp.explain('market.macro_%', '{
    "release_id": "Number of the release at FRED",
    "release_date": "Day of the publication, in the zone of the series",
    "replaced_id": "Number of the row",
    "vintage_start": "First day on which the value was the newest of its period",
    "vintage_end": "Last day on which it was; null: it still was when it was replaced",
    "available_at": "From when on the value may be used, UTC",
    "basis": "How that is known: release, day_end or observed",
    "active": "Whether the series is collected",
    "title": "Name of the series at its source",
    "units": "Units of the values, in the words of the source",
    "seasonal_adjustment": "In the words of the source",
    "release_name": "Name of the release that publishes it"
}');
SELECT pg_temp.explain('market.reconciliations', '{
    "reconciliation_id": "Number of the disagreement",
    "ours": "The bar as it is stored",
    "theirs": "The bar as the other statement has it",
    "found_at": "When it was found",
    "resolved_at": "When both agreed; null: not yet"
}');
SELECT pg_temp.explain('market.trades%', '{
    "time": "When it was traded, by the clock of the venue, UTC",
    "apart_id": "Number of the row",
    "trade_id": "Id of the trade at the venue; null: it had none that can be read",
    "taker_buy": "Whether the taker bought; null: not stated",
    "times": "How often this was seen"
}');
SELECT pg_temp.explain('market.%', '{
    "name": "What it is called in settings, columns and commands",
    "apart_id": "Number of the row",
    "only_row": "True: the table has at most one row",
    "last_attempt": "When it was asked for last; null: never",
    "tier": "Size class of the instrument",
    "active": "Whether the instrument is collected",
    "bars": "Number of bars that are absent",
    "state": "Why the bars are absent, or that it is not known: see docs/concepts/ledger.md",
    "attempts": "How often they were asked for",
    "next_attempt": "When they are asked for again; null: not by themselves",
    "evidence": "The rule that decided the state, and what it saw",
    "venue_symbol": "Name of the instrument at the venue, for example BTCUSDT",
    "removed_at": "When they were removed"
}');
SELECT pg_temp.explain('research.features', '{
    "symbol": "Name of the instrument, for example BTC-USDT"
}');
SELECT pg_temp.explain('research.feature_%', '{
    "rows": "Number of stored rows",
    "checked_at": "When it was computed",
    "feature": "Column of research.ml_features",
    "psi": "Population stability index of the last week against before",
    "threshold": "99th percentile of the feature''s own past",
    "drifted": "Whether psi is above the threshold"
}');
SELECT pg_temp.explain('research.forecast%', '{
    "pinball": "Mean pinball loss",
    "naive_pinball": "Mean pinball loss of the naive candidate",
    "fit_id": "Of research.forecast_fits",
    "forecast_id": "Of research.forecasts",
    "model": "naive, drift or ets",
    "series_id": "Of market.macro_series; null: it is of an instrument",
    "scored_at": "When it was scored",
    "inside_95": "Whether the bar closed inside the 95 % interval, for each step"
}');
SELECT pg_temp.explain('research.label_%', '{
    "setups": "Number of setups that were found",
    "labels": "Number of those whose horizon has ended",
    "parameters": "All parameters of the strategy",
    "first_used": "When the first label was made with them"
}');
SELECT pg_temp.explain('research.strategy\_dca\_%', '{
    "fall": "Close relative to the highest high of the window, minus 1; below 0",
    "volume_ratio": "Mean volume of an hour relative to that of a day",
    "average_px": "Average entry price of the filled orders, before slippage",
    "orders_filled": "How many orders of the grid were filled"
}');
SELECT pg_temp.explain('research.strategy\_swing\_%', '{
    "breakout": "Close relative to the highest high of the window before, minus 1",
    "volume_ratio": "Volume of the bar relative to the mean of the window",
    "macd_histogram": "Histogram of the MACD relative to the close",
    "day_change": "Change over 24 hours, a fraction"
}');
SELECT pg_temp.explain('research.strategy\_channel\_%', '{
    "slope": "Slope of the channel, of ln price per bar",
    "sigma": "Deviation of ln price from the middle of the channel",
    "width": "Upper edge relative to the lower, minus 1",
    "containment": "Share of the closes inside the channel",
    "position": "Place of the close between the edges, 0 to 1",
    "day_range": "Highest high of a day relative to its lowest low, minus 1",
    "reward_to_risk": "Net gain at the target relative to net loss at the stop",
    "touches_upper": "Touches of the upper edge",
    "touches_lower": "Touches of the lower edge",
    "fallback": "Whether the channel''s own barriers had to be replaced by those of the tier"
}');
SELECT pg_temp.explain('research.strategy\_%', '{
    "rsi14": "Relative strength index of 14 bars, 0 to 100",
    "horizon": "Bars of 15m after which the trade ends at the latest",
    "outcome_class": "TIMEOUT, BREAKEVEN, WIN or LOSS"
}');
SELECT pg_temp.explain('research.model%', '{
    "decision_id": "Number of the decision",
    "promoted": "Whether the model came into use",
    "market_time": "The market''s time then, UTC",
    "incumbent_id": "The model in use before; null: there was none",
    "holdout_from": "First signal of the hold-out that decided, UTC; null: a person decided",
    "holdout_until": "End of the hold-out, exclusive, UTC",
    "decided_by": "Who decided, where a person did",
    "alias": "champion, previous or challenger",
    "since": "Since when it stands for this model",
    "run_id": "Number of the training",
    "status": "trained, insufficient_data or failed",
    "started_at": "When the training began",
    "seconds": "How long it took",
    "detail": "Figures of the training",
    "error": "Why it failed; null: it did not",
    "blocked_because": "Why it may not be put in use; empty: it may",
    "trained_from": "First signal that it was trained on, UTC",
    "feature_schema_hash": "Hash of the definitions of its inputs",
    "loose_hash": "Hash of the parameter sets that it is trained and used on",
    "metrics": "Figures per fold, out of fold and of the hold-out; curves; findings",
    "manifest": "Everything that makes it again"
}');
SELECT pg_temp.explain('research.predictions', '{
    "feature_schema_hash": "Hash of the definitions of its inputs",
    "ml_mode": "off, boost or gate: what a prediction may decide",
    "decision": "take or skip",
    "refusal": "Why the model did not answer, in a sentence; null: it did"
}');
SELECT pg_temp.explain('trading.order_outbox', '{
    "handover_id": "Of trading.handovers",
    "attempted_at": "When it was sent last; null: not yet",
    "next_attempt": "When it is sent, or asked for, next",
    "ended_at": "When it was filled, cancelled, expired or rejected; null: not yet",
    "number": "Counts the orders of one role",
    "attempts": "How often it was sent or asked for",
    "role": "entry, protection or exit",
    "side": "buy or sell",
    "kind": "market, limit or protection",
    "state": "queued, unknown, open, filled, cancelled, expired or rejected",
    "cancel_wanted": "Whether it is to be cancelled",
    "quantity": "In the base asset",
    "stop_price": "Price that triggers it, in the quote asset; null: nothing does",
    "filled": "What of the quantity was filled",
    "venue_id": "Its id at the venue; null: not known yet",
    "error": "What the venue said against it; null: nothing"
}');
SELECT pg_temp.explain('trading.handovers', '{
    "handover_id": "Number of the row",
    "closed_at": "When its position was closed, or given up; null: not yet",
    "broker": "Name of the broker",
    "state": "open, closing or closed",
    "reason": "Why it is being closed, or was; null: it is open",
    "entries": "The orders that are to buy, with prices and sums",
    "stop_price": "Where the position is sold at a loss, in the quote asset",
    "target_price": "Where it is sold with a profit, in the quote asset; null: target_factor says it"
}');
SELECT pg_temp.explain('trading.venue_fills', '{
    "filled_at": "When it was filled, by the clock of the venue",
    "broker": "Name of the broker",
    "fill_id": "Its id at the venue",
    "client_id": "Of the order, in trading.order_outbox",
    "side": "buy or sell",
    "price": "In the quote asset",
    "quantity": "In the base asset",
    "fee": "In fee_asset",
    "fee_asset": "What the fee was paid in"
}');
SELECT pg_temp.explain('trading.reconciliations', '{
    "reconciliation_id": "Number of the comparison",
    "broker": "Name of the broker",
    "passed": "Whether nothing differed that forbids entries",
    "differences": "What differed, in sentences"
}');
SELECT pg_temp.explain('trading.fills', '{
    "number": "Counts the events of the trade",
    "bar_ts": "Open of the bar in which it was filled",
    "price": "With slippage, in the quote asset",
    "quote": "What was paid or received, without the fee"
}');
SELECT pg_temp.explain('trading.orders', '{
    "event_id": "Number of the event",
    "event": "placed, filled or cancelled",
    "quote": "What the order spends; null: it sells what is held"
}');
SELECT pg_temp.explain('trading.scan%', '{
    "condition_set": "Of trading.scan_conditions",
    "names": "Names of the conditions, in order",
    "comparisons": "How each value is compared with its threshold",
    "thresholds": "What each value is compared with",
    "meanings": "What each condition asks for, in words",
    "day": "UTC day",
    "scans": "Number of scans",
    "takes": "Number of scans in which all conditions were met",
    "near_misses": "Number of scans that were near misses",
    "one": "True: the table has one row",
    "scanned_from": "First bar that was scanned, UTC",
    "scanned_until": "End of what was scanned, exclusive, UTC",
    "reason": "Why there is no trade, or that there is one"
}');
SELECT pg_temp.explain('trading.shadow%', '{
    "change_id": "Number of the change",
    "changed_at": "When it was made",
    "market_time": "The market''s time then, UTC",
    "declares": "The parameters that differ",
    "changed_by": "Who made it",
    "reason": "Why, in their words",
    "day": "UTC day",
    "variation": "Name of the variant",
    "size_factor": "All multipliers of the size together; null: the signal was not taken",
    "limit_name": "What rejected the signal; null: nothing",
    "net_return": "What the trade came to, after costs, a fraction",
    "test_id": "Number of the test",
    "decided_at": "When it was decided",
    "first_day": "First day that it judges",
    "last_day": "Last day that it judges",
    "seed": "Of its random numbers",
    "figures": "All figures that it was decided from",
    "about": "What the variant changes, in words",
    "parameters": "All parameters that its ledger was made with"
}');
SELECT pg_temp.explain('trading.%', '{
    "use": "What the order is for: the entry, a later order of a grid, the take profit, the stop, or the end of the horizon",
    "parameters": "The parameters themselves",
    "revision": "0; one more for each time that the trade was booked again",
    "order_sum": "What each order spends, in the account''s currency; null: nothing is bought",
    "number": "Counts the events of the trade",
    "value": "Of what is held, at the last price",
    "result": "value and what was received, minus what was paid",
    "decided_at": "When it was decided",
    "size_factor": "All multipliers of the size together",
    "model_factor": "Of these, what the model asked for; 1 without one",
    "free_cash": "Of the account when it was decided",
    "day_volume": "Quote volume of the 96 bars up to the signal",
    "volatility": "Deviation of 15m returns of a day, scaled to a day; null: not known",
    "strength": "Return of seven days minus that of the benchmark; null: not known",
    "ambiguous": "What decided where stop and target were inside the same bar"
}');
