"""Shared parts of the benches of the ClickHouse mirror: bars with corrections, and hashes that both engines make."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from crypto_pipeline.lake.clickhouse.engine import MirrorAddress, MirrorEngine
from crypto_pipeline.store import Store

START = datetime(2025, 1, 1, tzinfo=UTC)
SYMBOLS = tuple(f"C{number:02}-USDT" for number in range(20))
#: Sources and seconds after the first revision of the copies of a corrected bar.
SOURCES = (("venue_historical", 7200), ("live_gap_filled", 3600), ("historical_aggregated", 10800))
_FLOATS = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume")
#: Number of 1m bars, and a sum over all of them that any other bar, value or time changes.
_IN_POSTGRES = f"""
SELECT count(*), sum(('x' || left(md5(
    int4send(instrument_id) || timestamptz_send(open_time) || int2send(source_rank) || boolsend(complete)
    || timestamptz_send(revision) || int8send(coalesce(trade_count, -1))
    || {" || ".join(f"float8send(coalesce({name}, -1))" for name in _FLOATS)}), 15))::bit(60)::bigint)
FROM market.ohlc_data WHERE timeframe = '1m'
"""


def _bytes(value: str) -> str:
    return f"reverse(reinterpretAsFixedString({value}))"


def _moment(name: str) -> str:
    return _bytes(f"toUnixTimestamp64Micro(toDateTime64({name}, 6, 'UTC')) - toInt64(946684800000000)")


_VALUES = [
    _bytes("instrument_id"), _moment("open_time"), _bytes("source_rank"), _bytes("toUInt8(complete)"),
    _moment("revision"), _bytes("toInt64(ifNull(trade_count, -1))"),
    *(_bytes(f"ifNull({name}, -1)" if "_" in name else name) for name in _FLOATS),
]  # fmt: skip
# the copies with the greatest version, as every read takes them
_IN_CLICKHOUSE = f"""
SELECT count() AS rows,
       sum(toInt128(bitShiftRight(reinterpretAsUInt64(reverse(substring(MD5(concat({", ".join(_VALUES)})), 1, 8))), 4)))
       ::String AS hash
FROM (
    SELECT * FROM crypto_pipeline.bars
    ORDER BY instrument_id, timeframe, open_time, version DESC LIMIT 1 BY instrument_id, timeframe, open_time
) WHERE NOT removed
"""


def postgres_hash(store: Store) -> tuple[int, str]:
    """Number and hash of the 1m bars in PostgreSQL, made there."""
    rows, total = store.connections.row(_IN_POSTGRES)
    return int(rows), str(total)


def clickhouse_hash(engine: MirrorEngine) -> tuple[int, str]:
    """The same of the mirror, made there."""
    rows, total = engine.frame(_IN_CLICKHOUSE).row(0)
    return int(rows), str(total)


def corrections(bars: pl.DataFrame, seed: int, share: float = 0.05) -> list[pl.DataFrame]:
    """Copies of a share of the bars, each by every source, in 20 batches of a mixed order."""
    rng = np.random.default_rng(seed)
    chosen = bars.filter(pl.Series(rng.random(bars.height) < share))
    made = []
    for source, later in SOURCES:
        factor = pl.Series(1 + rng.random(chosen.height) / 100)
        changed = [(pl.col(name) * factor).alias(name) for name in ("open", "high", "low", "close")]
        revision = pl.col("revision") + pl.duration(seconds=later)
        complete = pl.Series("complete", rng.random(chosen.height) < 0.8)
        made.append(chosen.with_columns(*changed, complete, source=pl.lit(source), revision=revision))
    mixed = pl.concat(made).with_columns(batch=pl.Series(rng.integers(0, 20, chosen.height * len(SOURCES))))
    return [part.drop("batch") for part in mixed.partition_by("batch")]


def in_database(folder: Path, name: str) -> MirrorAddress:
    """A database of its own in a folder of chdb, which one process opens once."""
    return MirrorAddress(f"chdb://{folder}/{name}", name, {"interface": "chdb", "path": str(folder)})
