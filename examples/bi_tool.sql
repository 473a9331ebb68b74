-- SQL for a BI tool: Grafana, Metabase, Superset, Power BI, psql. bi_tool.py makes the role and runs these queries.
-- name: candles of the last day
SELECT open_time AS "time", open, high, low, close, volume
FROM market.ohlc_today
WHERE symbol = 'BTC-USDT' AND timeframe = '15m'
ORDER BY open_time;

-- name: gainers and losers
SELECT symbol, last_price, round((100 * change_24h)::numeric, 2) AS change_percent, quote_volume_24h
FROM market.instrument_summary
WHERE active AND change_24h IS NOT NULL
ORDER BY change_24h DESC;

-- name: what is missing, and why
SELECT symbol, timeframe, state, count(*) AS holes, sum(bars) AS bars
FROM market.ledger
WHERE closed_at IS NULL
GROUP BY symbol, timeframe, state
ORDER BY bars DESC;

-- name: bars that were replaced
SELECT i.symbol, r.timeframe, r.open_time, r.close AS close_before, r.recorded_at, r.superseded_at
FROM market.ohlc_revisions r
JOIN market.instruments i USING (instrument_id)
ORDER BY r.superseded_at DESC
LIMIT 20;

-- name: how old is what I am looking at
SELECT name, rows, refreshed_at FROM ops.view_refreshes ORDER BY name;
