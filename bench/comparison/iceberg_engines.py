"""Run by an interpreter with one engine: rows, hash and seconds of Iceberg tables, as that engine reads them.

Reads {"engine", "tables": [{"location", "metadata"}, …], "jars"} from stdin; answers a list of [rows, sha256, seconds].
The hash is over every value of every row in the order of instrument and time, whatever order the engine has.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def digest(table: pa.Table) -> str:
    """SHA-256 of all values; times as microseconds, nulls as a mask."""
    found = hashlib.sha256()
    columns = {name: plain(table[name]) for name in sorted(table.column_names)}
    order = pc.sort_indices(pa.table(columns), [("instrument", "ascending"), ("open_time", "ascending")])
    for name, column in columns.items():
        ordered = column.take(order).combine_chunks()
        found.update(name.encode() + b"|" + pc.is_valid(ordered).to_numpy(zero_copy_only=False).tobytes())
        if pa.types.is_large_string(ordered.type):
            found.update("\n".join(value or "" for value in ordered.to_pylist()).encode())
        else:
            found.update(pc.fill_null(ordered, 0).to_numpy(zero_copy_only=False).tobytes())
    return found.hexdigest()


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    if pa.types.is_boolean(column.type):
        return column.cast(pa.int64())
    if pa.types.is_floating(column.type):
        return column.cast(pa.float64())
    return column.cast(pa.int64() if pa.types.is_integer(column.type) else pa.large_string())


def pyiceberg(jars: list[str]) -> Callable[[dict[str, str]], pa.Table]:
    from pyiceberg.table import StaticTable

    return lambda table: StaticTable.from_metadata(table["metadata"]).scan().to_arrow()


def polars(jars: list[str]) -> Callable[[dict[str, str]], pa.Table]:
    import polars as pl

    return lambda table: pl.scan_iceberg(table["location"]).collect().to_arrow()


def duckdb(jars: list[str]) -> Callable[[dict[str, str]], pa.Table]:
    import duckdb

    connection = duckdb.connect(config={"allow_unsigned_extensions": True})
    connection.execute("SET TimeZone = 'UTC'")
    extensions = {
        file.stem: file for place in sys.path for file in Path(place).glob("duckdb_ext/**/*.duckdb_extension")
    }
    for name in ("avro", "httpfs", "iceberg"):
        connection.execute(f"LOAD '{extensions[name]}'")
    return lambda table: connection.execute(
        f"SELECT * FROM iceberg_scan('{table['location'][7:]}')"
    ).fetch_arrow_table()


def chdb(jars: list[str]) -> Callable[[dict[str, str]], pa.Table]:
    os.chdir("/")  # it reads only what is below the folder in which it starts
    import chdb as engine

    def read(table: dict[str, str]) -> pa.Table:
        done = engine.query(f"SELECT * FROM icebergLocal('{table['location'][7:]}')", "Arrow")
        return pa.ipc.open_file(pa.py_buffer(done.bytes())).read_all()

    return read


def pyspark(jars: list[str]) -> Callable[[dict[str, str]], pa.Table]:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").config("spark.jars", ",".join(jars))
    session = builder.config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC").getOrCreate()
    session.sparkContext.setLogLevel("OFF")

    def read(table: dict[str, str]) -> pa.Table:
        with tempfile.TemporaryDirectory() as folder:
            frame = session.read.format("iceberg").load(table["metadata"])
            frame.write.mode("overwrite").parquet(f"{folder}/out")
            return pq.read_table(f"{folder}/out")

    return read


ENGINES = {"pyiceberg": pyiceberg, "polars": polars, "duckdb": duckdb, "chdb": chdb, "pyspark": pyspark}


def main() -> None:
    given: dict[str, Any] = json.load(sys.stdin)
    read = ENGINES[given["engine"]](given.get("jars", []))
    answers = []
    for table in given["tables"]:
        began = time.monotonic()
        rows = read(table)
        answers.append([rows.num_rows, digest(rows), time.monotonic() - began])
    print("\n" + json.dumps(answers))


if __name__ == "__main__":
    main()
