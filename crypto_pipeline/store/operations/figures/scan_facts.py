"""Facts about scans that the operational checks judge: how long ago each strategy scanned its newest bar."""

from __future__ import annotations

from typing import Any

import psycopg

# A strategy without scans of the last six hours is as late as that; before the first pass there are no rows.
_SCANS = """
SELECT s.strategy, coalesce(extract(epoch FROM market.now() - n.newest)::float8 - 900, 21600)
FROM (SELECT DISTINCT strategy FROM trading.scan_conditions) AS s
LEFT JOIN (
    SELECT strategy, max(signal_ts) AS newest FROM trading.scan_history
    WHERE signal_ts >= market.now() - interval '6 hours' AND reason <> 'bar_missing' GROUP BY 1
) AS n USING (strategy)
ORDER BY 1
"""


def read_scans(connection: psycopg.Connection[Any]) -> dict[str, float]:
    """Strategy → seconds since the close of the newest bar that it scanned. Raises psycopg.Error."""
    return dict(connection.execute(_SCANS).fetchall())
