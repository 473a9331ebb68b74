"""SIGKILLs of a process that lets the ClickHouse mirror follow, and of PostgreSQL under it: then both are equal.

    python bench/clickhouse_kills.py [KILLS]

At each kill some of a million bars of 1m are corrected, and a process begins to follow; after a
random time it is killed, or PostgreSQL (its first process, every second time), which is started again. A process that
lost PostgreSQL ends with an error, or waits for it and goes on. At the end one run follows, and every bar is compared.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
from clickhouse_parts import START, SYMBOLS, clickhouse_hash, corrections, postgres_hash
from common import load, machine, start_postgres, table

from crypto_pipeline.lake.clickhouse.engine import MirrorAddress, MirrorEngine
from crypto_pipeline.lake.clickhouse.follow import follow
from crypto_pipeline.lake.clickhouse.tables import MirrorTables
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import EmbeddedServer, Store, StoreError, migrate
from crypto_pipeline_tests.builders.bars import series

M1 = Timeframe.M1
BARS = 1_000_000
CORRECTED = 40_000


def worker(url: str, address: MirrorAddress) -> None:
    """Follow once; exit code 3 if PostgreSQL went away."""
    with Store(url) as store, MirrorEngine(address) as engine:
        print("begun", flush=True)
        try:
            follow(store, MirrorTables(engine), address.shown, [M1])
        except StoreError as error:
            print(f"  {error}", file=sys.stderr)
            sys.exit(3)


class Kills:
    """Kills of the worker and of the server, and how the worker ended."""

    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        self._server, self._folder = server, folder
        self.postgres = start_postgres(server, folder)
        self.address = MirrorAddress.parse(f"chdb://{folder}/chdb")
        self.ends = {"killed": 0, "done before": 0, "ended with an error": 0, "waited and went on": 0}
        self._rng = random.Random(3)

    def kill(self, *, whole_server: bool) -> None:
        """Let a worker begin, and kill it or the server."""
        command = [sys.executable, __file__, "--worker", self._server.url(), self.address.shown]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        time.sleep(self._rng.random() * 2)
        ended = child.poll() is not None
        if whole_server:
            self.postgres.kill()
            self.postgres.wait()
            self.postgres = start_postgres(self._server, self._folder)
        else:
            child.send_signal(signal.SIGKILL)
        code = child.wait(300)
        said = {-signal.SIGKILL: "killed", 3: "ended with an error"}
        self.ends[
            "done before" if ended or (code == 0 and not whole_server) else said.get(code, "waited and went on")
        ] += 1
        child.stdout.close()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    print(machine() + "\n")
    folder = Path(tempfile.mkdtemp(prefix="cp-click-"))
    folder.chmod(0o755)
    server = EmbeddedServer(folder)
    server.prepare()
    kills = Kills(server, folder)
    migrate(server.url())
    bars = series(SYMBOLS, BARS // len(SYMBOLS), START, source="venue_historical").sort("instrument", "open_time")
    with Store(server.url(), batch_rows=200_000) as store:
        store.instruments.add([Instrument.crypto(symbol) for symbol in SYMBOLS])
        store.bars.write(bars, M1)
        for number in range(count):
            place = random.Random(number).randrange(bars.height - CORRECTED)
            batches = corrections(bars.slice(place, CORRECTED), 100 + number)
            later = pl.col("revision") + pl.duration(days=1 + number)
            store.bars.write(pl.concat(batches).with_columns(revision=later).sort("instrument", "open_time"), M1)
            kills.kill(whole_server=number % 2 == 1)
            print(f"{number + 1}: {kills.ends} (load {load()})", file=sys.stderr, flush=True)
        with MirrorEngine(kills.address) as engine:
            tables = MirrorTables(engine)
            clock = time.monotonic()
            done = follow(store, tables, kills.address.shown, [M1])
            took = time.monotonic() - clock
            end = START + timedelta(minutes=bars.height // len(SYMBOLS))
            equal = clickhouse_hash(engine) == postgres_hash(store) and all(
                tables.bars([symbol], M1, START, end).equals(store.reader.read([symbol], M1, START, end))
                for symbol in SYMBOLS
            )
            left = follow(store, tables, kills.address.shown, [M1]).cells
    kills.postgres.terminate()
    kills.postgres.wait()
    shutil.rmtree(folder, ignore_errors=True)
    head = ["kills", "of PostgreSQL", *kills.ends, "bars then", "s of the last run", "all compared again", "cells left"]
    row = [count, count // 2, *kills.ends.values(), "equal" if equal else "DIFFERENT", f"{took:.1f}", done.compared_all]
    table([*head, "load"], [[*row, left, load()]])
    sys.exit(not equal or left > 0)


if __name__ == "__main__":
    os.nice(1)
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], MirrorAddress.parse(sys.argv[3]))
    else:
        main()
