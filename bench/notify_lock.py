"""What NOTIFY costs those who commit: PostgreSQL lets one transaction with a notification commit at a time.

    python bench/notify_lock.py [--seconds 10]

1, 4 and 16 writers, each with instruments of its own, in turn with and without the triggers that tell listeners of
every change; one listener is connected. ``commits`` is the smallest transaction that tells (a coverage cell gets a new
data version, by pgbench), so that there is hardly anything but the commit to wait for. ``minutes`` is what ingest does:
a process per writer stores the minute of 20 instruments, again and again.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.synchronize import Barrier

import polars as pl
import psycopg
from common import database, load, machine, numbers, postgres, table
from write_bars import M1, MONTH, make_bars

from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.store import EmbeddedServer, Store
from crypto_pipeline.store.coordination.notifications import BarNotifications
from crypto_pipeline.store.embedded.binaries import find_binaries

WRITERS = (1, 4, 16)
#: Instruments of a writer.
EACH = 20
TRIGGERS = ("coverage_added", "coverage_changed", "coverage_removed", "coverage_emptied")
CELL = """
UPDATE market.coverage SET data_version = nextval('market.data_version'), updated_at = now()
WHERE instrument_id = :client_id + 1 AND timeframe = '1m' AND day = date '2025-03-01';
"""


@contextmanager
def telling(url: str, *, told: bool) -> Iterator[None]:
    """The triggers of coverage, on or off."""
    verb = "ENABLE" if told else "DISABLE"
    with psycopg.connect(url, autocommit=True) as connection:
        for name in TRIGGERS:
            connection.execute(f"ALTER TABLE market.coverage {verb} TRIGGER {name}")
        connection.execute("VACUUM market.coverage")
        connection.execute("CHECKPOINT")
    yield


def commits(url: str, writers: int, seconds: int) -> tuple[float, float]:
    """Transactions a second of all writers, and the milliseconds of one."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(CELL)
        script.flush()
        done = subprocess.run(
            [find_binaries().folder / "pgbench", "--no-vacuum", f"--client={writers}", "--jobs=2", f"--time={seconds}",
             f"--file={script.name}", url],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
    words = {line.split(" = ")[0]: line.split(" = ")[1].split()[0] for line in done.splitlines() if " = " in line}
    return float(words["tps"]), float(words["latency average"])


def minutes(url: str, writers: int, seconds: int) -> tuple[float, float]:
    """As ``commits``, of processes that store minutes."""
    context = multiprocessing.get_context("spawn")
    begin, answers = context.Barrier(writers), context.Queue()
    processes = [context.Process(target=_write, args=(url, one, seconds, begin, answers)) for one in range(writers)]
    for process in processes:
        process.start()
    counts = [answers.get(timeout=seconds + 120) for _ in processes]
    for process in processes:
        process.join()
    rate = sum(counts) / seconds
    return rate, 1000 * writers / rate


def _write(url: str, number: int, seconds: int, begin: Barrier, answers: multiprocessing.Queue[int]) -> None:
    names = [f"A{one:03d}-USDT" for one in range(number * EACH, (number + 1) * EACH)]
    bars = make_bars(names, 1).filter(pl.col("open_time") == MONTH)
    with Store(url) as store:
        # bars of a month that nobody else of this bench has written, later than all of earlier rounds
        newest = store.reader.latest(names, M1)["open_time"].max()
        at = (newest or MONTH) + timedelta(minutes=1)  # type: ignore[operator]
        begin.wait()
        until, count = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            moved = pl.lit(at + timedelta(minutes=count))
            store.bars.write(bars.with_columns(open_time=moved.cast(bars.schema["open_time"])), M1)
            count += 1
    answers.put(count)


def measure(url: str, seconds: int) -> None:
    with Store(url) as store:
        names = [f"A{one:03d}-USDT" for one in range(max(WRITERS) * EACH)]
        store.instruments.add([Instrument.crypto(name) for name in names])
        store.bars.write(make_bars(names, 1).filter(pl.col("open_time") == MONTH), M1)
        heard = BarNotifications(url)
        heard.start()
        rows = []
        for name, work in (("commits", commits), ("minutes", minutes)):
            for writers in WRITERS:
                cells = []
                for told in (True, False):
                    with telling(url, told=told):
                        rate, took = work(url, writers, seconds)
                    cells += [f"{rate:,.0f}", f"{took:.1f}"]
                rows.append([name, writers, *cells, load()])
        heard.close()
    head = ["what", "writers", "told: transactions/s", "ms each", "not told: transactions/s", "ms each", "load"]
    table(head, rows)


def run(server: EmbeddedServer, seconds: int) -> None:
    with database(server, "notify_lock") as url:
        measure(url, seconds)


def main() -> None:
    options = numbers(__doc__, seconds=10).parse_args()
    print(f"{machine()}\n")
    with postgres() as server:
        run(server, options.seconds)


if __name__ == "__main__":
    main()
