-- What tables, views and their columns mean, where nothing said so yet: tools for SQL show it, and so does the documentation.
-- depends: 0045.notify

COMMENT ON TABLE ops.check_results IS 'The newest result of each check';
COMMENT ON TABLE ops.alerts IS 'What is or was wrong: a row is open until it is over, then it stays as history';
COMMENT ON TABLE ops.venue_budgets IS 'Requests to each venue in its present window, shared by all programs';
COMMENT ON TABLE ops.heartbeats IS 'Who holds a duty and when they last said that they live';
COMMENT ON TABLE ops.job_metrics IS 'What each run of a job did, and how long it took';
COMMENT ON TABLE ops.leases IS 'Duties that exactly one process may have at a time';
COMMENT ON TABLE ops.maintenance_windows IS 'Planned work, during which alerts are not announced';
COMMENT ON TABLE ops.outbox IS 'Messages to people, one for each channel; stored before they are sent';
COMMENT ON TABLE ops.notification_channels IS 'How each channel of messages did, and when it may be used again';
COMMENT ON TABLE ops.reports IS 'What each report of the morning or afternoon said';

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

-- columns of revisions and of live rows mean what they mean in the table that they come from
DO $$
DECLARE
    one record;
    copied text;
BEGIN
    FOR one IN
        SELECT relname AS copy, regexp_replace(regexp_replace(relname, '_revisions$', 's'), '_live$', '') AS original
        FROM pg_class WHERE relnamespace = 'research'::regnamespace AND relkind IN ('r', 'p')
          AND (relname LIKE '%\_label\_revisions' OR relname = 'ml_features_live')
    LOOP
        SELECT format('SELECT pg_temp.explain(%L, %L)', 'research.' || one.copy,
                      coalesce(jsonb_object_agg(a.attname, col_description(a.attrelid, a.attnum)), '{}'))
        INTO copied FROM pg_attribute a
        WHERE a.attrelid = format('research.%I', one.original)::regclass AND a.attnum > 0
          AND col_description(a.attrelid, a.attnum) IS NOT NULL;
        EXECUTE copied;
    END LOOP;
END $$;

SELECT pg_temp.explain('market.%', '{
    "symbol": "Name of the instrument, for example BTC-USDT",
    "instrument_id": "Of market.instruments",
    "venue_id": "Of market.venues",
    "timeframe": "Width of the bar: 1m, 5m, 15m, 30m, 1h, 4h, 1d or 1w",
    "open_time": "Begin of the window of the bar, UTC",
    "open": "Price of the first trade, in the quote asset",
    "high": "Highest price, in the quote asset",
    "low": "Lowest price, in the quote asset",
    "close": "Price of the last trade, in the quote asset",
    "volume": "What was traded, in the base asset",
    "quote_volume": "What was traded, in the quote asset; null: the venue does not state it",
    "taker_buy_volume": "The part of volume that takers bought; null: the venue does not state it",
    "trade_count": "Number of trades; null: the venue does not state it",
    "vwap": "Mean price by volume: quote_volume / volume; null where nothing was traded",
    "source": "What the bar was made of, by name: the rank of copies goes by it",
    "source_rank": "Of market.bar_sources: the higher rank is believed",
    "complete": "Whether the copy covers its whole window",
    "revision": "When the venue stated these values",
    "recorded_at": "Since when the store has these values",
    "superseded_at": "Until when these values were the truth: the time at which a better copy took their place",
    "last_price": "Price of the newest trade, in the quote asset",
    "last_trade_time": "Time of the newest trade, UTC",
    "last_trade_id": "Id of the newest trade at the venue",
    "asset_class": "crypto, stock or macro",
    "last_open_time": "Open time of the newest bar",
    "high_24h": "Highest price of the last 24 hours",
    "low_24h": "Lowest price of the last 24 hours",
    "volume_24h": "What was traded in the last 24 hours, in the base asset",
    "quote_volume_24h": "What was traded in the last 24 hours, in the quote asset",
    "trade_count_24h": "Trades of the last 24 hours",
    "bars_24h": "Stored 1m bars of the last 24 hours",
    "missing_7d": "1m bars of the last 7 days that are neither present nor explained",
    "gap_id": "Number of the row; `gaps reopen` takes it",
    "start_time": "Open time of the first bar of the span",
    "end_time": "End of the span: the open time of the first bar after it",
    "first_seen": "When this was first found",
    "last_seen": "When this was last found",
    "closed_at": "When it was over; null: it is open",
    "note": "For later readers",
    "venue": "Name of the venue",
    "base": "What is traded",
    "quote": "What prices are stated in",
    "tick_size": "Smallest step of prices; null: not known",
    "lot_size": "Smallest step of quantities; null: not known",
    "added_at": "Since when it is collected",
    "price": "In the quote asset",
    "quantity": "In the base asset",
    "day": "UTC",
    "sha256": "Hash of the bytes of the file",
    "rows": "Rows of the file",
    "bytes": "Size of the file",
    "path": "Place of the file below the address of the archive",
    "series_id": "Of market.macro_series",
    "period": "First day of the month, quarter or day that the value describes",
    "value": "In the units of the series; null: the source states that there is none",
    "updated_at": "When the row last changed"
}');

SELECT pg_temp.explain('trading.%', '{
    "account": "Of trading.accounts: paper",
    "instrument": "Name of the instrument, for example BTC-USDT",
    "instrument_id": "Of market.instruments",
    "strategy": "dca, swing or channel",
    "signal_ts": "Open of the signal bar, as of the labels",
    "moment": "Close of a 15m bar, by the time of the market",
    "decision": "TAKE, NEAR_MISS or SKIP",
    "condition": "Name of the condition",
    "comparison": "How the value is compared with the threshold",
    "threshold": "What the condition asks for",
    "margin": "Distance of the value from the threshold; below 0: the condition is not met",
    "met": "Whether the condition is met",
    "meaning": "The condition in words",
    "scanned_at": "When the bar was scanned",
    "params_hash": "Of the parameters of the strategy: research.label_parameters",
    "parameters_hash": "Of the parameters of trading: trading.parameters",
    "tier": "large, mid, meme or stock: decides fees, slippage and exits",
    "taken": "Whether it was taken; limit_name says what rejected it",
    "limit_value": "What was found of the limit that rejected it",
    "limit_threshold": "What that limit allows",
    "planned_stop": "Price of the stop, as planned at the signal",
    "planned_target": "Price of the target, as planned at the signal",
    "orders": "Number of orders by which the position is bought",
    "orders_filled": "How many of them were filled",
    "size": "What all orders together spend, in the currency of the account",
    "risk": "What is lost at the stop, in the currency of the account",
    "bound_by": "What limited the size",
    "equity": "Cash and positions, in the currency of the account",
    "cash": "In the currency of the account",
    "positions": "Value of what is held, at the closes",
    "reserved": "Cash that is kept for orders that are not filled yet",
    "open_trades": "Number of open trades",
    "open_risk": "What is lost if every stop is reached",
    "high_water": "Highest equity so far; a reset of a halt lowers it",
    "drawdown": "Part of the high-water mark that is lost",
    "stress": "Stress of the market at the signal, numbered as in research.ml_features; null: not known",
    "regime": "Regime of the market at the signal, numbered as in research.ml_features; null: not known",
    "p_star": "Probability from which on a trade pays",
    "model_id": "Of research.models",
    "ml_mode": "What predictions are used for: off, boost or gate",
    "entry_ts": "Open of the bar of the entry",
    "exit_ts": "Close of the bar in which it ended",
    "outcome": "TP: target, SL: stop, TIME: end of the horizon",
    "paid": "What was spent, in the currency of the account",
    "received": "What came back, in the currency of the account",
    "fees": "Fees of both sides, in the currency of the account",
    "slippage": "By how much fills were worse than the price, in the currency of the account; part of the price",
    "pnl": "received - paid, fees included",
    "units": "What is held or was bought, in the base asset",
    "entry_price": "Price of the first fill",
    "average_price": "Mean price of all fills of the entry",
    "exit_price": "Price of the fill that ended it",
    "stop_loss_price": "Price of the stop",
    "take_profit_price": "Price of the target",
    "decision_price": "Close of the signal bar",
    "mark": "Price at which the position is valued: the newest close",
    "currency": "What the amount is stated in",
    "amount": "Above 0: it comes in; below 0: it goes out",
    "made_at": "When the row was stored",
    "created_at": "When the row was stored",
    "recorded_at": "When the row was stored"
}');

SELECT pg_temp.explain('trading.risk\_%', '{"decided_by": "The person who decided", "reason": "What the person said"}');
SELECT pg_temp.explain('trading.risk\_state', '{"state": "ACTIVE, REDUCING or HALTED"}');
SELECT pg_temp.explain('trading.equity', '{
    "state": "ACTIVE, REDUCING or HALTED",
    "daily_until": "Until when the guard of the loss of a day holds; null: it does not",
    "weekly_until": "Until when the guard of the loss of a week holds; null: it does not",
    "halt_until": "Until when the halt of a drawdown holds; null: it does not",
    "needs_reset": "Whether a person has to reset a halt",
    "week_mark": "Equity at Monday 00:00 UTC"
}');
SELECT pg_temp.explain('trading.fills', '{"fee": "In the currency of the account"}');
SELECT pg_temp.explain('trading.scans', '{"value": "Value of the condition at the signal bar; null: not known"}');

SELECT pg_temp.explain('research.forecast%', '{
    "horizon": "1h: 24 hours ahead, 1d: 7 days, 1w: 4 weeks, release: the next release of a macro series",
    "step": "Number of the step ahead, from 1",
    "forecasts": "Number of scored forecasts",
    "coverage_80": "Part of targets that lay in the interval of 80 %",
    "coverage_95": "Part of targets that lay in the interval of 95 %"
}');

SELECT pg_temp.explain('research.%', '{
    "instrument_id": "Of market.instruments",
    "strategy": "dca, swing or channel",
    "open_time": "Open of the 15m bar, UTC",
    "available_at": "From this moment on the row may be used",
    "market_regime": "CRASH, BEAR, NEUTRAL or BULL",
    "market_stress": "PANIC, CAUTION, CALM or EUPHORIA",
    "params_hash": "Of research.label_parameters",
    "entry_ts": "Open of the bar of the entry: the one after the signal bar",
    "stop_loss": "Price of the stop",
    "exit_px": "Price at which the trade ended",
    "gross_return": "Before costs, as a fraction",
    "net_return": "After fees and slippage, as a fraction",
    "outcome": "TP: target, SL: stop, TIME: end of the horizon",
    "tier": "large, mid, meme or stock: decides fees, slippage and exits",
    "superseded_at": "Until when the row was the truth",
    "recorded_at": "Since when the store has the row",
    "model_id": "Of research.models",
    "made_at": "When it was made",
    "computed_at": "When it was computed",
    "decided_at": "When it was decided",
    "created_at": "When the row was stored",
    "day": "UTC"
}');

SELECT pg_temp.explain('ops.%', '{
    "check_name": "Name of the check, as in the runbook",
    "timeframe": "Width of the bars that it is about; empty: it is about none",
    "severity": "info, warning, error or critical",
    "summary": "What is wrong, in one sentence",
    "detail": "Figures behind it",
    "checked_at": "When it was last judged",
    "since": "Since when the result has been the same",
    "source": "What the alert is about: a check, a job or a venue",
    "opened_at": "When it was first seen",
    "last_seen": "When it was last seen",
    "times_seen": "How often it was seen",
    "resolved_at": "When it was over; null: it is open",
    "acknowledged_at": "When a person said that they work on it",
    "acknowledged_by": "That person",
    "holder": "The process that has the duty",
    "beat": "When it last said that it lives",
    "expires_at": "When another process may take over",
    "job": "Name of the job",
    "run_id": "Run of Dagster; null: outside of a run",
    "started": "When it began",
    "seconds": "How long it took",
    "rows": "How many rows",
    "bytes": "How many bytes",
    "succeeded": "Whether it succeeded",
    "bars_made": "Bars that the run stored",
    "gaps_found": "Gaps that the run found",
    "gaps_filled": "Gaps that the run filled",
    "channel": "Where the message goes",
    "starts_at": "Begin of the planned work",
    "ends_at": "End of the planned work",
    "reason": "What the person said",
    "created_at": "When the row was stored",
    "sent_at": "When the message was sent",
    "attempts": "How often it was tried",
    "next_attempt": "When it is tried again"
}');

DROP FUNCTION pg_temp.explain;
