"""The same month of 1m bars downloaded with several tools from an exchange that errs; then a year of bars read.

    python bench/comparisons.py --freqtrade PYTHON --nautilus PYTHON --arcticdb PYTHON [--ccxt PYTHON]

Each tool runs in an interpreter of its own (see crypto_pipeline_tests/oracles/foreign.py for how such environments are
made) and does what its manual shows, on the replay exchange, which speaks Binance's protocol over a socket. In the
month the venue is down now and then (the generated market says when). Planted on top: two hours of BTC that the venue
hides, half an hour of SOL with wrong highs and volumes, a minute of ETH whose high is below its low, and one of BTC
that is stated under the time of the next. Then the venue mends all of it, and each tool downloads once more in its
usual way. Every table is compared with the tape.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from common import database, load, machine, postgres, table

import crypto_pipeline
from crypto_pipeline.market import Instrument, Timeframe
from crypto_pipeline.market.retention import Kept, RetentionPolicy
from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention

PROGRAMS = Path(__file__).parent / "comparison"
PAIRS = {"BTC/USDT": "BTC-USDT", "ETH/USDT": "ETH-USDT", "SOL/USDT": "SOL-USDT"}
START, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
HIDDEN = (datetime(2026, 10, 9, 8, tzinfo=UTC), datetime(2026, 10, 9, 10, tzinfo=UTC))
WRONG = (datetime(2026, 10, 14, 15, tzinfo=UTC), datetime(2026, 10, 14, 15, 30, tzinfo=UTC))
INVALID, TWICE = datetime(2026, 10, 20, 12, 5, tzinfo=UTC), datetime(2026, 10, 21, 12, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
_SIZE = "SELECT pg_database_size(current_database())"
VALUES = ["open", "high", "low", "close", "volume"]
Rows = Mapping[str, list[list[float]]]


def faults() -> list[dict[str, Any]]:
    """What the exchange does wrong until they are cleared."""

    def span(start: datetime, end: datetime) -> dict[str, str]:
        return {"start": start.isoformat(), "end": end.isoformat()}

    bad: dict[str, Any] = {"kind": "bad_rows", "endpoint": "klines"}
    return [
        {"kind": "missing_range", "symbol": "BTCUSDT", **span(*HIDDEN)},
        {"kind": "wrong_values", "symbol": "SOLUSDT", **span(*WRONG), "columns": ["high", "volume"], "factor": 1.3},
        bad | {"symbol": "ETHUSDT", **span(INVALID, INVALID + MINUTE), "values": {"high": "1.00"}},
        bad | {"symbol": "BTCUSDT", **span(TWICE, TWICE + MINUTE), "shift_ms": 60_000},
    ]


@dataclass
class State:
    """What one tool has, beside the tape: counts of rows."""

    rows: int
    absent: int
    twice: int
    invalid: int
    wrong: int

    @classmethod
    def of(cls, rows: Rows, tape: Mapping[str, pl.DataFrame]) -> State:
        """Compare rows [ms, open, high, low, close, volume] of each pair with the tape."""
        found = cls(0, 0, 0, 0, 0)
        for pair, given in rows.items():
            frame = pl.DataFrame(given, schema=["ms", *VALUES], orient="row", infer_schema_length=None)
            frame = frame.with_columns(pl.col("ms").cast(pl.Int64), pl.col(VALUES).cast(pl.Float64))
            true = tape[pair]
            both = frame.unique("ms").join(true, on="ms", suffix="_true")
            near = [((pl.col(name) - pl.col(f"{name}_true")).abs() <= 1e-8 * pl.col(f"{name}_true")) for name in VALUES]
            found.rows += frame.height
            found.absent += true.join(frame, on="ms", how="anti").height
            found.twice += frame.height - frame["ms"].n_unique()
            found.invalid += frame.filter(pl.col("high") < pl.col("low")).height
            found.wrong += both.filter(~pl.all_horizontal(near)).height
        return found

    def cells(self) -> list[object]:
        """For the table."""
        return [f"{self.rows:,}", self.absent, self.twice, self.invalid, self.wrong]


def ask(python: str, program: str, question: dict[str, Any]) -> dict[str, Any]:
    """The answer of a program of ``comparison/``, run by another interpreter."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [python, str(PROGRAMS / program)],
        input=json.dumps(question),
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def tape_of(exchange: ReplayExchange) -> dict[str, pl.DataFrame]:
    """The true bars of the month. Where the venue was down there are none."""
    found = {}
    for pair in PAIRS:
        bars = exchange.market.bars(pair.replace("/", ""), Timeframe.M1, START, END)
        found[pair] = bars.select(pl.col("open_time").dt.epoch("ms").alias("ms"), *VALUES)
    return found


@dataclass
class Ours:
    """crypto_pipeline on a database of its own, by its command line."""

    url: str
    port: int
    folder: Path

    def command(self, *arguments: str) -> str:
        """Run one command to its end; its output."""
        environment = os.environ | {
            "CRYPTO_PIPELINE_DATABASE_URL": self.url, "CRYPTO_PIPELINE_REPLAY_PORT": str(self.port),
            "CRYPTO_PIPELINE_DAYS": str((datetime.now(UTC) - START).days + 1),
            "CRYPTO_PIPELINE_DATA_DIR": str(self.folder),
            "CRYPTO_PIPELINE_ARCHIVE_MIN_DAYS": "1000",  # the pages that all ask for, not the venue's files
            "CRYPTO_PIPELINE_HEAL_BACKOFF": "0.001", "CRYPTO_PIPELINE_HEAL_ATTEMPTS": "100",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "crypto_pipeline.cli", *arguments], env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        return done.stdout + done.stderr

    def span(self) -> list[str]:
        """Options that name the month."""
        return ["--start", f"{START:%Y-%m-%d}", "--end", f"{END:%Y-%m-%d}"]

    def rows(self, store: Store, as_of: datetime | None = None) -> Rows:
        """What is stored."""
        found = {}
        for pair, symbol in PAIRS.items():
            bars = store.reader.read([symbol], Timeframe.M1, START, END, as_of=as_of)
            found[pair] = [list(row) for row in bars.select(pl.col("open_time").dt.epoch("ms"), *VALUES).iter_rows()]
        return found


def our_month(
    ours: Ours, exchange: ReplayExchange, tape: Mapping[str, pl.DataFrame]
) -> Iterator[tuple[str, list[object]]]:
    """First run, second run after the venue mended its bars, and the past."""
    with Store(ours.url) as store:
        store.instruments.add([Instrument.crypto(symbol) for symbol in PAIRS.values()])
        began = time.monotonic()
        ours.command("backfill", *ours.span())
        seconds = time.monotonic() - began
        yield "crypto_pipeline, first", [f"{seconds:.1f} s", *State.of(ours.rows(store), tape).cells()]
        print(ours.command("gaps"))
        print(ours.command("reconcile", *ours.span()))
        before = datetime.now(UTC)
        exchange.clear_faults()
        began = time.monotonic()
        ours.command("backfill", *ours.span())
        ours.command("reconcile", *ours.span())
        ours.command("backfill", *ours.span())
        seconds = time.monotonic() - began
        yield "crypto_pipeline, again", [f"{seconds:.1f} s", *State.of(ours.rows(store), tape).cells()]
        print(ours.command("gaps"))
        yield "crypto_pipeline, as of before", ["", *State.of(ours.rows(store, before), tape).cells()]


def months(given: argparse.Namespace, folder: Path) -> list[list[object]]:
    """The month with every tool."""
    found: list[list[object]] = []
    asked = {"pairs": list(PAIRS), "start": int(START.timestamp() * 1000), "end": int(END.timestamp() * 1000)}
    with running_exchange(instruments="BTCUSDT,ETHUSDT,SOLUSDT", weight_limit=0, faults=faults()) as exchange:
        tape = tape_of(exchange)
        minutes = int((END - START) / MINUTE)
        print(f"tape: {sum(each.height for each in tape.values()):,} bars; {3 * minutes:,} minutes")
        asked["url"] = exchange.url
        first = ask(given.ccxt, "ccxt_download.py", asked)
        add(found, f"ccxt {first['version']}, first", first["seconds"], State.of(first["rows"], tape))
        freq = folder / "freqtrade"
        freq.mkdir()
        (freq / "data").mkdir()
        if given.freqtrade:
            answer = ask(given.freqtrade, "freqtrade_download.py", {**asked, "folder": str(freq)})
            add(found, f"freqtrade {answer['version']}, first", answer["seconds"], State.of(answer["rows"], tape))
            print("freqtrade hands out", answer["filled"], "rows more;", answer["said"])
        with postgres() as server, database(server, "compared") as url:
            ours = our_month(Ours(url, exchange.port, folder), exchange, tape)
            for name, cells in ours:
                found.append([name, *cells])
        second = ask(given.ccxt, "ccxt_download.py", asked)
        add(found, "ccxt, everything again", second["seconds"], State.of(second["rows"], tape))
        if given.freqtrade:
            answer = ask(given.freqtrade, "freqtrade_download.py", {**asked, "folder": str(freq)})
            add(found, "freqtrade, again", answer["seconds"], State.of(answer["rows"], tape))
    runs = [first["rows"], second["rows"]]
    if given.arcticdb:
        answer = ask(given.arcticdb, "arcticdb_store.py", {"folder": str(folder), "runs": runs})
        add(found, f"ArcticDB {answer['version']} of ccxt's rows, first", None, State.of(answer["states"][0], tape))
        add(found, "ArcticDB, again", answer["seconds"], State.of(answer["states"][1], tape))
        add(found, "ArcticDB, first version", None, State.of(answer["first"], tape))
    if given.nautilus:
        question = {"folder": str(folder), "runs": runs, "start": asked["start"], "end": asked["end"]}
        answer = ask(given.nautilus, "nautilus_catalogue.py", question)
        add(
            found,
            f"nautilus_trader {answer['version']} of ccxt's rows, first",
            None,
            State.of(answer["states"][0], tape),
        )
        add(found, "nautilus_trader, again", answer["seconds"], State.of(answer["states"][1], tape))
        print("nautilus refused", answer["refused"], "; said", answer["troubles"], "; missing", answer["missing"])
    return found


def add(found: list[list[object]], name: str, seconds: float | None, state: State) -> None:
    """One line of the table."""
    found.append([name, "" if seconds is None else f"{seconds:.1f} s", *state.cells()])


def year_frame(exchange: ReplayExchange) -> pl.DataFrame:
    """A year of 1m bars of one instrument."""
    return exchange.market.bars("BTCUSDT", Timeframe.M1, END - timedelta(days=365), END)


def years(given: argparse.Namespace, folder: Path) -> list[list[object]]:
    """Reading a year of 1m bars of one instrument, each tool in its own frames, from its own store."""
    found: list[list[object]] = []
    with running_exchange(instruments="BTCUSDT", weight_limit=0) as exchange:
        bars = year_frame(exchange)
    file = folder / "year.parquet"
    bars.select("open_time", *VALUES).write_parquet(file)
    for name, python, program in (
        ("freqtrade (feather)", given.freqtrade, "freqtrade_download.py"),
        ("ArcticDB (LMDB)", given.arcticdb, "arcticdb_store.py"),
        ("nautilus_trader (Parquet catalogue)", given.nautilus, "nautilus_catalogue.py"),
    ):
        if python:
            place = folder / program.partition("_")[0]
            place.mkdir(exist_ok=True)
            answer = ask(python, program, {"folder": str(place), "year": str(file)})
            found.append(year_line(name, bars.height, answer["write"], answer["read"], answer["bytes"]))
    found += [
        year_line(f"crypto_pipeline ({name})", bars.height, *figures) for name, *figures in our_year(bars, folder)
    ]
    return found


def year_line(name: str, rows: int, wrote: float, read: float, size: float) -> list[object]:
    """One line of the second table."""
    return [name, f"{wrote:.2f} s", f"{read * 1000:,.0f} ms", f"{rows / read / 1e6:.1f} M", f"{size / rows:.0f}"]


@contextmanager
def our_store() -> Iterator[Store]:
    """A store on a server with the product's settings."""
    with postgres() as server, database(server, "year") as url, Store(url) as store:
        yield store


def our_year(bars: pl.DataFrame, folder: Path) -> Iterator[tuple[str, float, float, float]]:
    """Seconds to write and read, and bytes, in PostgreSQL's tables and in archive files."""
    with our_store() as store:
        store.instruments.add([Instrument.crypto("BTC-USDT")])
        stated = bars.with_columns(pl.lit("venue_historical").alias("source"), pl.lit(True).alias("complete"))
        if "instrument" not in stated.columns:
            stated = stated.with_columns(pl.lit("BTC-USDT").alias("instrument"))
        if "revision" not in stated.columns:
            stated = stated.with_columns((pl.col("open_time") + timedelta(hours=1)).alias("revision"))
        empty = store.connections.row(_SIZE)[0]
        began = time.monotonic()
        store.bars.write(stated, Timeframe.M1)
        wrote = time.monotonic() - began
        yield "tables of PostgreSQL", wrote, read_year(store, bars), store.connections.row(_SIZE)[0] - empty
        policy = RetentionPolicy(
            dict.fromkeys(Timeframe, Kept(None, None)) | {Timeframe.M1: Kept(1, None)}, Kept(7, 7), 0
        )
        storage = ArchiveStorage(str(folder / "archive"))
        began = time.monotonic()
        Retention(store.connections, storage, folder / "scratch", policy).run(END + timedelta(days=40), lambda _: None)
        wrote = time.monotonic() - began
        files = [path for path in (folder / "archive").rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        yield f"archive, {len(files)} Parquet files", wrote, read_year(store, bars), size


def read_year(store: Store, bars: pl.DataFrame) -> float:
    """Median of five reads as a user makes them, in seconds; nothing is kept between them."""
    took = []
    with crypto_pipeline.Reader(store.url, cache_bytes=0) as reader:
        for _ in range(5):
            began = time.monotonic()
            found = reader.bars(
                "BTC-USDT", "1m", start=bars["open_time"][0], end=END, columns=["open_time", *VALUES], final_only=False
            )
            took.append(time.monotonic() - began)
            assert found.height == bars.height, (found.height, bars.height)
    return statistics.median(took)


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("freqtrade", "nautilus", "arcticdb"):
        parser.add_argument(f"--{name}", help=f"an interpreter with {name}")
    parser.add_argument("--ccxt", default=sys.executable, help="an interpreter with ccxt")
    parser.add_argument("--only", choices=["months", "years"])
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="cp-compare-") as name:
        folder = Path(name)
        if given.only != "years":
            table(("tool, run", "took", "rows", "absent", "twice", "invalid", "wrong"), months(given, folder))
        if given.only != "months":
            table(("store", "write a year", "read a year", "rows/s", "bytes a row"), years(given, folder))
    print(f"load at the end: {load()}")


if __name__ == "__main__":
    main()
