-- Whoever follows forecasts, trading and alerts learns of every change, by trigger, whoever writes.
-- depends: 0044.handover 0043.shadow 0042.trading_ledger 0041.scans 0039.forecasts 0030.notifications 0009.changes

CREATE FUNCTION research.tell_forecasts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told text;
BEGIN
    SELECT string_agg(DISTINCT coalesce(i.symbol, m.name), ',') INTO told
    FROM added a
    LEFT JOIN market.instruments i ON i.instrument_id = a.instrument_id
    LEFT JOIN market.macro_series m ON m.series_id = a.series_id;
    IF told IS NOT NULL THEN
        -- a notification holds less than 8,000 bytes; an empty one says: look at all
        PERFORM pg_notify('forecasts_changed', CASE WHEN length(told) < 7900 THEN told ELSE '' END);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION research.tell_forecasts IS 'NOTIFY forecasts_changed with the names of series that have a new forecast';
CREATE TRIGGER forecasts_added AFTER INSERT ON research.forecasts
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION research.tell_forecasts();

-- The argument of the trigger is the channel; it says only that something changed.
CREATE FUNCTION ops.tell_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(TG_ARGV[0], '');
    RETURN NULL;
END $$;
COMMENT ON FUNCTION ops.tell_change IS 'NOTIFY the channel that the trigger names';

CREATE TRIGGER signals_decided AFTER INSERT ON trading.signals
    FOR EACH STATEMENT EXECUTE FUNCTION ops.tell_change('signals_changed');
CREATE TRIGGER positions_changed AFTER INSERT OR UPDATE OR DELETE ON trading.positions
    FOR EACH STATEMENT EXECUTE FUNCTION ops.tell_change('trades_changed');
CREATE TRIGGER trades_changed AFTER INSERT OR UPDATE OR DELETE ON trading.trade_logs
    FOR EACH STATEMENT EXECUTE FUNCTION ops.tell_change('trades_changed');

-- Checks touch open alerts every few seconds: only what people see counts as a change.
CREATE TRIGGER alerts_changed AFTER UPDATE ON ops.alerts FOR EACH ROW
    WHEN ((old.severity, old.summary, old.resolved_at, old.acknowledged_at, old.muted_until)
          IS DISTINCT FROM (new.severity, new.summary, new.resolved_at, new.acknowledged_at, new.muted_until))
    EXECUTE FUNCTION ops.tell_change('alerts_changed');
CREATE TRIGGER alerts_opened_or_removed AFTER INSERT OR DELETE ON ops.alerts
    FOR EACH STATEMENT EXECUTE FUNCTION ops.tell_change('alerts_changed');
