"""A small market whose chart has everything on it: holes of every state, revisions, a stock before its split."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import polars as pl

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.coverage.ledger import STATES
from crypto_pipeline_tests.builders.bars import START, SYMBOLS, bar, frame, series
from crypto_pipeline_tests.store.test_corporate_actions import stock

CHARTED = SYMBOLS[0]
M1, D1 = Timeframe.M1, Timeframe.D1
MINUTE = timedelta(minutes=1)
BARS = 2_400
END = START + BARS * MINUTE
#: Where the hole of each state begins, six bars long; the last one has no row in the ledger.
HOLES = {state: END - (20 + 12 * place) * MINUTE for place, state in enumerate([*STATES, "unexplained"])}
HOLE = 6
#: These bars were stated anew at CORRECTED.
REVISED = [END - minutes * MINUTE for minutes in (4, 5, 6)]
CORRECTED = END - timedelta(minutes=2)
FIRST_DAY = datetime(2025, 1, 6, tzinfo=UTC)

# As if each bar had been stored a minute after it opened, and the better copies at CORRECTED.
_STORED_THEN = """
UPDATE market.ohlc_data SET recorded_at = CASE WHEN (open_time, instrument_id) IN
    (SELECT open_time, instrument_id FROM market.ohlc_revisions) THEN %(corrected)s::timestamptz
    ELSE open_time + interval '1 minute' END;
UPDATE market.ohlc_revisions SET recorded_at = open_time + interval '1 minute', superseded_at = %(corrected)s
"""


def stored_charted_market(store: Store) -> None:
    """Fill an empty database that collects SYMBOLS."""
    store.instruments.add([stock("AAPL")])
    absent = [at + each * MINUTE for at in HOLES.values() for each in range(HOLE)]
    bars = series((CHARTED,), BARS).with_columns(complete=pl.lit(True))
    store.bars.write(bars.filter(~pl.col("open_time").is_in(absent)), M1)
    better = bars.filter(pl.col("open_time").is_in(REVISED))
    store.bars.write(better.with_columns(pl.col("close") + 0.25, revision=pl.col("revision") + timedelta(hours=1)), M1)
    for statement in _STORED_THEN.split(";"):
        store.connections.run(
            lambda connection, text=statement: connection.execute(text, {"corrected": CORRECTED}) and None
        )
    store.ledger.record(ledger_rows())
    days = [bar("AAPL", FIRST_DAY + timedelta(days=day), price=700.0 + day) for day in range(40)]
    store.bars.write(frame(days), D1)
    store.clock.learn("replay", END)


def ledger_rows() -> pl.DataFrame:
    """A row for each hole that has a reason."""
    rows = [
        (CHARTED, "1m", at, at + HOLE * MINUTE, state, json.dumps({"because": f"as {state}", "seen": [place, 2]}))
        for place, (state, at) in enumerate(HOLES.items())
        if state != "unexplained"
    ]
    return pl.DataFrame(rows, schema=["instrument", "timeframe", "start", "end", "state", "evidence"], orient="row")
