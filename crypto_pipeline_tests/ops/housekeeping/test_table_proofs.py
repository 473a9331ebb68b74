"""Tables that lost rows behind everybody's back: found by the proof, named in backups, and never backed up over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest

from crypto_pipeline.market import Timeframe
from crypto_pipeline.ops.backups import backup, files
from crypto_pipeline.ops.housekeeping.table_proofs import CHECK, prove_tables
from crypto_pipeline.ops.status import Stored
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.bars import SYMBOLS, add_symbols, series

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
YESTERDAY = TODAY - timedelta(days=1)
MONTH = (YESTERDAY.replace(day=1) - timedelta(days=15)).replace(day=1)
#: The month before yesterday's: no bar of yesterday is in its partition.
TABLE = f"market.ohlc_1m_{MONTH:%Y_%m}"


def silent(text: str) -> None:
    pass


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as opened:
        add_symbols(opened)
        opened.bars.write(series(count=3000, start=MONTH), Timeframe.M1)
        opened.bars.write(series(count=50, start=MONTH, timeframe=Timeframe.H1), Timeframe.H1)
        opened.bars.write(series(SYMBOLS[:1], 600, YESTERDAY, source="live_aggregated"), Timeframe.M1)
        opened.trades.write("replay", trades(YESTERDAY, 600))
        yield opened


@pytest.fixture
def settings(store: Store, tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path, database_url=store.url)


def trades(start: datetime, minutes: int) -> pl.DataFrame:
    """One trade in every minute."""
    numbers = pl.int_range(minutes, eager=True)
    return pl.DataFrame({"trade_id": numbers}).select(
        pl.lit(SYMBOLS[0]).alias("instrument"),
        "trade_id",
        pl.col("trade_id").alias("first_id"),
        pl.col("trade_id").alias("last_id"),
        (pl.lit(start).dt.cast_time_unit("ms") + pl.duration(minutes=pl.col("trade_id"))).alias("time"),
        pl.lit(100.0).alias("price"),
        pl.lit(1.0).alias("quantity"),
        pl.lit("buy").alias("taker_side"),
    )


def execute(store: Store, *statements: str) -> None:
    with psycopg.connect(store.url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def cut_in_half(store: Store, table: str) -> None:
    """As a damaged disk does it: the table's file on disk loses its second half."""
    execute(store, f"VACUUM {table}", "CHECKPOINT")
    with psycopg.connect(store.url) as connection:
        row = connection.execute(
            "SELECT current_setting('data_directory'), pg_relation_filepath(%s)", [table]
        ).fetchone()
    assert row is not None
    path = Path(row[0]) / row[1]
    os.truncate(path, path.stat().st_size // 2 // 8192 * 8192)


def cut_a_month(store: Store) -> None:
    cut_in_half(store, TABLE)


def drop_a_month(store: Store) -> None:
    execute(store, f"DROP TABLE {TABLE}")


def empty_a_day_of_trades(store: Store) -> None:
    execute(store, f"TRUNCATE market.trades_{YESTERDAY:%Y_%m_%d}")


def drop_a_day_of_trades(store: Store) -> None:
    execute(store, f"DROP TABLE market.trades_{YESTERDAY:%Y_%m_%d}")


def delete_some_bars(store: Store) -> None:
    execute(store, "DELETE FROM market.ohlc_1h WHERE open_time < (SELECT min(open_time) + '3 h' FROM market.ohlc_1h)")


def lose_coverage(store: Store) -> None:
    execute(store, f"DELETE FROM market.coverage WHERE timeframe = '1m' AND day = '{MONTH:%Y-%m-%d}'")


def cut_revisions(store: Store) -> None:
    store.bars.write(series(count=3000, start=MONTH, seed=2, revised=timedelta(days=1)), Timeframe.M1)
    cut_in_half(store, "market.ohlc_revisions")


DAMAGE: list[tuple[Callable[[Store], None], str]] = [
    (cut_a_month, rf"{TABLE} has [\d,]+ rows where coverage counts 12,000: .* first .*-USDT on"),
    (drop_a_month, rf"{TABLE} is missing, though 12,000 of its rows are counted"),
    (empty_a_day_of_trades, rf"trades of {YESTERDAY:%Y-%m-%d} are missing, though \d+ live bars were made from them"),
    (drop_a_day_of_trades, rf"trades of {YESTERDAY:%Y-%m-%d} are missing, though \d+ live bars were made from them"),
    (delete_some_bars, r"market.ohlc_1h has 188 rows where coverage counts 200: 4 days differ"),
    (lose_coverage, rf"{TABLE} has 12,000 rows where coverage counts 6,240"),
    (cut_revisions, r"market.ohlc_revisions (has [\d,]+ rows where its index has [\d,]+|cannot be read)"),
]


@pytest.mark.own_server
@pytest.mark.parametrize(("damage", "expected"), DAMAGE, ids=[one.__name__ for one, _ in DAMAGE])
def test_what_a_table_lost_is_found_named_and_spoils_the_status(
    store: Store, settings: Settings, damage: Callable[[Store], None], expected: str
) -> None:
    whole = prove_tables(store, settings)
    assert whole.faults == []
    assert whole.rows_read > 12_000
    damage(store)
    found = prove_tables(store, settings)
    assert len(found.faults) >= 1
    assert any(pl.Series([fault]).str.contains(expected)[0] for fault in found.faults), found.faults
    (alert,) = store.checks.open_alerts().filter(source=CHECK).to_dicts()
    assert alert["severity"] == "critical"
    assert CHECK in [row["check"] for row in Stored.read(store).failing]
    assert not Stored.read(store).complete


@pytest.mark.own_server
@pytest.mark.parametrize("damage", [cut_a_month, drop_a_month, empty_a_day_of_trades], ids=lambda one: one.__name__)
def test_a_backup_of_a_damaged_database_says_so_and_pushes_no_right_one_out(
    store: Store, settings: Settings, damage: Callable[[Store], None]
) -> None:
    keep = settings.model_copy(update={"backup_keep": 2})

    def make() -> Any:
        return backup.make(keep, store.url, 0, silent)

    right = make()
    assert right.manifest.faults == []
    assert backup.damage(right, files.backup_dir(keep)) is None
    damage(store)
    for _ in range(3):
        spoilt = make()
        assert spoilt.manifest.faults
        assert not spoilt.manifest.right
    kept = [one.folder.name for one in files.complete(files.backup_dir(keep))]
    assert kept == [right.folder.name, spoilt.folder.name], "of the damaged ones only the newest takes room"
    said = backup.damage(spoilt, files.backup_dir(keep)) or ""
    assert f"the last good backup is {right.folder.name}" in said


def test_what_is_taken_away_on_purpose_is_no_fault(store: Store, settings: Settings) -> None:
    store.trades.drop_before(TODAY.date())
    assert prove_tables(store, settings).faults == []


def test_large_tables_take_turns_and_a_fault_is_looked_at_every_time(store: Store, settings: Settings) -> None:
    execute(store, "ANALYZE")
    every = prove_tables(store, settings).proven
    delete_some_bars(store)
    while not (found := prove_tables(store, settings, rows=1)).faults:
        assert found.proven < every
    assert prove_tables(store, settings, rows=1).faults == found.faults
    execute(store, "UPDATE market.coverage SET present = 0 WHERE timeframe = '1h'", "DELETE FROM market.ohlc_1h")
    assert prove_tables(store, settings, rows=1).faults == []
    assert every > 20
