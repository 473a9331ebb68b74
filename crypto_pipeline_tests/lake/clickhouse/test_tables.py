"""Reads from the mirror do not trust merges, and the shipped statements are ones that the engine knows."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from crypto_pipeline.lake.clickhouse import statements
from crypto_pipeline.lake.clickhouse.engine import MirrorAddress, MirrorEngine
from crypto_pipeline.lake.clickhouse.tables import COPY_SCHEMA, MirrorTables
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.settings import Settings
from crypto_pipeline.store.archive import merge
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline_tests.builders.bars import START, SYMBOLS, series

BEGIN, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
SOURCES = ("live_aggregated", "live_gap_filled", "historical_aggregated", "venue_historical", "reconciled")


def copies(seed: int, source: str) -> pl.DataFrame:
    number = pl.col("instrument").replace_strict(dict(zip(SYMBOLS, range(4), strict=True)), return_dtype=pl.Int32)
    made = series(count=40, seed=seed, source=source).with_columns(
        instrument_id=number, recorded_at=pl.lit(START), epoch=0, data_version=seed, removed=False
    )
    return made.select(pl.col(name).cast(dtype) for name, dtype in COPY_SCHEMA.items())


def test_the_order_of_arrival_does_not_matter(engine: MirrorEngine, tables: MirrorTables) -> None:
    """Guards I1 (docs/invariants.md) in the mirror: copies come in any order, before and after merges."""
    tables.set_symbols(dict(enumerate(SYMBOLS)))
    batches = [copies(seed, source) for seed, source in enumerate(SOURCES)]
    names = dict(enumerate(SYMBOLS))
    named = pl.concat(batches).with_columns(instrument=pl.col("instrument_id").replace_strict(names))
    best = merge.best(named).sort("instrument", "open_time")
    random.Random(5).shuffle(batches)
    for batch in batches:
        tables.write(Timeframe.M1, batch)
    for _ in range(2):
        found = tables.bars(SYMBOLS, Timeframe.M1, BEGIN, END, best.select(merge.KEY + merge.DECIDING).columns)
        assert_frame_equal(found, best.select(found.columns), check_exact=True)
        by_arg_max = engine.frame(
            f"SELECT {', '.join('symbol' if n == 'instrument' else n for n in found.columns)} FROM crypto_pipeline.ohlc"
        )
        shown = by_arg_max.rename({"symbol": "instrument"}).cast(dict(found.schema)).sort("instrument", "open_time")
        assert_frame_equal(shown, found, check_exact=True)
        tables.merge()
    assert engine.frame("SELECT count() AS n FROM crypto_pipeline.bars").item() == 160


def test_the_statements_for_a_cluster_are_parsed(engine: MirrorEngine) -> None:
    for cluster in (False, True):
        made = statements.tables(cluster=cluster)
        assert len(made) == (8 if cluster else 6)
        for statement in made:
            engine.command(f"EXPLAIN AST {statement}")
    with pytest.raises(StoreError, match="Syntax error"):
        engine.command("EXPLAIN AST CREATE TABLE nothing ENGIN = Log")
    columns = [statements.text(cluster=cluster).split("instrument_id")[1].split("\n)")[0] for cluster in (False, True)]
    assert columns[0] == columns[1], "a cluster has the columns of one server"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("chdb:///data/mirror", "chdb:///data/mirror"),
        ("clickhouse://reader:secret@db.example:9000/lake", "clickhouse://db.example:9000/lake"),
        ("https://reader:secret@db.example", "https://db.example:8443/crypto_pipeline"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert MirrorAddress.parse(url).shown == shown
    assert "secret" not in repr(Settings(clickhouse_url=url))


@pytest.mark.parametrize("url", ["chdb://", "mysql://db", "clickhouse://db/la-ke"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError):
        MirrorAddress.parse(url)


def test_what_is_wrong_is_said_in_one_line(tables: MirrorTables) -> None:
    with pytest.raises(StoreError, match="unknown column 'price'"):
        tables.bars(["BTC-USDT"], Timeframe.M1, BEGIN, END, ["price"])
    with pytest.raises(StoreError, match="'NOPE' is not in the ClickHouse mirror"):
        tables.bars(["NOPE"], Timeframe.M1, BEGIN, END)
