"""Spans in which another venue stands in: one row while it goes on, closed when nothing of the other venue is left.

Guards I1 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from crypto_pipeline.market.bars import BarOrigin
from crypto_pipeline.market.precedence import SOURCE_RANKS
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.bars import START, bar, frame

MINUTE = timedelta(minutes=1)


def span(first: int, last: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"instrument": ["BTC-USDT"], "start": [START + first * MINUTE], "end": [START + last * MINUTE]},
        schema_overrides={"start": pl.Datetime("ms", "UTC"), "end": pl.Datetime("ms", "UTC")},
    )


def take(store: Store, first: int, last: int) -> None:
    again = START + timedelta(hours=1)
    store.failovers.record(span(first, last), Timeframe.M1, "kraken", "binance", "unavailable", "it is down", again)


def test_the_database_knows_every_source_by_the_same_rank(store: Store) -> None:
    rows = store.connections.run(
        lambda link: link.execute("SELECT name, source_rank FROM market.bar_sources").fetchall()
    )
    assert dict(rows) == {str(source): rank for source, rank in SOURCE_RANKS.items()}


def test_one_that_goes_on_is_one_row_and_closes_when_the_first_venue_has_stated_its_own(store: Store) -> None:
    take(store, 0, 2)
    take(store, 2, 3)
    take(store, 9, 10)
    other = str(BarOrigin.failover("kraken"))
    store.bars.write(frame([bar(at=START + n * MINUTE, source=other) for n in (0, 1, 2, 9)]), Timeframe.M1)
    rows = store.failovers.open("binance", Timeframe.M1)
    assert [(row["start"], row["end"]) for row in rows.iter_rows(named=True)] == [
        (START, START + 3 * MINUTE),
        (START + 9 * MINUTE, START + 10 * MINUTE),
    ]
    assert store.failovers.open("kraken").is_empty()
    assert store.failovers.due("binance", START).is_empty()
    ids = store.failovers.due("binance", START + timedelta(hours=1))["failover_id"].to_list()
    assert len(ids) == 2
    assert store.failovers.close_replaced("binance", ids) == 0
    store.bars.write(frame([bar(at=START + n * MINUTE) for n in range(3)]), Timeframe.M1)
    assert store.failovers.close_replaced("binance") == 0, "taken a moment ago: bars may be on their way"
    assert store.failovers.close_replaced("binance", ids) == 1
    (left,) = store.failovers.open("binance")["failover_id"]
    now = START + timedelta(hours=1)
    store.failovers.asked([left], now, MINUTE, 2)
    (row,) = store.failovers.open("binance").iter_rows(named=True)
    assert (row["attempts"], row["next_attempt"]) == (1, now + MINUTE)
    store.failovers.asked([left], now, MINUTE, 2)
    assert store.failovers.open("binance").is_empty(), "asked often enough: the other venue's bar is kept"
