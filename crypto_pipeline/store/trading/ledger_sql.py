"""Statements of the ledger."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

ACCOUNT = """
SELECT account, currency, capital, parameters_hash, created_at, began, moment, checked_version
FROM trading.accounts WHERE account = %s
"""
DECLARE = "INSERT INTO trading.parameters (parameters_hash, parameters) VALUES (%s, %s) ON CONFLICT DO NOTHING"
PARAMETERS = "SELECT parameters FROM trading.parameters WHERE parameters_hash = %s"
BEGIN = """
INSERT INTO trading.accounts (account, currency, capital, parameters_hash, began, moment)
VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
OPENING = """
INSERT INTO trading.postings (account, number, moment, ledger_account, currency, amount) VALUES (%s, 0, %s, %s, %s, %s)
"""
LOCK = "SELECT moment FROM trading.accounts WHERE account = %s FOR UPDATE"
CLEAR_POSITIONS = "DELETE FROM trading.positions WHERE account = %s"
SUPERSEDE = """
UPDATE trading.trade_logs SET superseded_at = %s
WHERE account = %s AND strategy = %s AND instrument_id = %s AND signal_ts = %s AND revision = %s
"""
ADVANCE = "UPDATE trading.accounts SET moment = %s, parameters_hash = %s, checked_version = %s WHERE account = %s"
RISK_CHANGE = """
INSERT INTO trading.risk_state (account, moment, state, because, resumes_at, equity, drawdown)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""
RESET = """
INSERT INTO trading.risk_resets (account, moment, reason, decided_by)
SELECT %s, moment + interval '15 minutes', %s, %s FROM trading.accounts WHERE account = %s
ON CONFLICT (account, moment) DO UPDATE SET moment = excluded.moment
RETURNING moment
"""
RESETS = "SELECT moment FROM trading.risk_resets WHERE account = %s AND moment > %s ORDER BY 1"
#: The last trades of each instrument that ended by a moment, in order.
ENDS = """
SELECT instrument_id, exit_ts, strategy, signal_ts, outcome = 'SL', tier FROM (
    SELECT *, row_number() OVER (
        PARTITION BY instrument_id ORDER BY exit_ts DESC, signal_ts DESC, strategy DESC
    ) AS place
    FROM trading.trade_logs WHERE account = %s AND superseded_at IS NULL
) t WHERE place <= %s ORDER BY exit_ts, signal_ts, strategy
"""
#: Trades of the last 60 days on bars that have changed since a data version: the cells of their days, from signal to
#: end. Older ones stay as they are booked: minutes that decided them may have left.
AFFECTED = """
WITH changed AS MATERIALIZED (
    SELECT DISTINCT instrument_id, day FROM market.coverage
    WHERE timeframe IN ('1m', '15m') AND data_version > %(version)s
)
SELECT s.strategy, s.instrument_id, s.signal_ts
FROM trading.signals s
LEFT JOIN trading.trade_logs t USING (account, strategy, instrument_id, signal_ts)
WHERE s.account = %(account)s AND s.taken AND s.moment <= %(moment)s
  AND s.moment > %(moment)s - interval '60 days' AND t.superseded_at IS NULL
  AND EXISTS (
      SELECT FROM changed c WHERE c.instrument_id = s.instrument_id
        AND c.day BETWEEN (s.signal_ts AT TIME ZONE 'UTC')::date
                      AND (coalesce(t.exit_ts, s.signal_ts + interval '1 day') AT TIME ZONE 'UTC')::date)
ORDER BY s.signal_ts, s.strategy, s.instrument_id
"""
NEWEST_VERSION = """
SELECT coalesce(max(data_version), 0) FROM market.coverage WHERE timeframe IN ('1m', '15m')
"""


def copy(table: str, columns: Sequence[str]) -> sql.Composed:
    """COPY rows into a table of the ledger."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT CSV)").format(sql.Identifier("trading", table), names)
