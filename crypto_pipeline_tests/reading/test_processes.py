"""Readers across processes, signals and event loops: forked, pickled, interrupted; the right frame, never a hang.

Guards I10 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crypto_pipeline import Reader
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.archive.archiver import Archiver
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.database.portable_url import without_password
from crypto_pipeline.store.partitions.span import Span
from crypto_pipeline_tests.builders.bars import START, bar, frame
from crypto_pipeline_tests.builders.databases import as_argument
from crypto_pipeline_tests.builders.places import PROJECT
from crypto_pipeline_tests.reading.test_reader import price

M1, MINUTE, DAY = Timeframe.M1, timedelta(minutes=1), timedelta(days=1)
APRIL = START + DAY
EXAM = PROJECT / "bench" / "forks.py"
#: An interpreter that starts takes a second, and many times as long beside others.
HUNG = 200.0


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    """March archived with a hole, April in the table, a price that is forming."""
    made = [bar(symbol, START + n * MINUTE, price=100.0 * k) for k, symbol in enumerate(("BTC-USDT", "ETH-USDT"), 1)
            for n in range(1400, 1480) if n != 1430]  # fmt: skip
    store.bars.write(frame(made), M1)
    archiver = Archiver(store.connections, ArchiveStorage(str(tmp_path / "archive")), tmp_path / "scratch")
    archiver.archive(Span.month(M1, (2025 - 1970) * 12 + 2), 0)
    store.live.flush("replay", prices=[price("BTC-USDT", START + 1480 * MINUTE, 7)])
    pl.DataFrame({"a": [2, 1]}).sort("a")  # Polars' threads run, as in any parent that used it
    return store


def in_child(work: Callable[[], Any]) -> int:
    """Exit code of a forked child that does ``work``: 0 when that gives a true value."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if work() else 1
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(code)
    deadline = time.monotonic() + HUNG
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pytest.fail("a forked child waits for ever")
        time.sleep(0.005)


def test_children_of_a_parent_that_goes_on_reading_get_their_own_prices(read_database: str, store: Store) -> None:
    """Small, wide and cached reads, ends with and without tidying up; the exam with 200 forks is the bench."""
    command = [sys.executable, str(EXAM), "--url", as_argument(read_database), "--forks", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_whatever_a_reader_gives_it_gives_in_a_child_as_well(filled: Store, reader: Reader) -> None:
    span: dict[str, Any] = {"start": START, "end": APRIL + DAY}
    both = ["ETH-USDT", "BTC-USDT"]
    asks: dict[str, Callable[[], pl.DataFrame]] = {
        "archived and stored": lambda: reader.bars(both, "1m", **span),
        "newest, from the archive too": lambda: reader.bars(both, "1m", last=70),
        "stored": lambda: reader.bars(both, "1m", start=APRIL, end=APRIL + DAY, columns=["close", "open_time"]),
        "as of": lambda: reader.bars("BTC-USDT", "1m", start=APRIL, end=APRIL + DAY, as_of="2024-01-01"),
        "incomplete too": lambda: reader.bars("BTC-USDT", "1m", **span, final_only=False),
        "flat": lambda: reader.bars("BTC-USDT", "1m", **span, fill="flat"),
        "latest": lambda: reader.latest(),
        "cached": lambda: reader.cached.bars("ETH-USDT", "1m", **span).value,
        "gaps": lambda: reader.gaps(),
        "coverage": lambda: reader.coverage("BTC-USDT", "1m"),
        "instruments": lambda: reader.instruments(),
        "trades": lambda: reader.trades("BTC-USDT", START, APRIL),
    }
    expected = {what: ask() for what, ask in asks.items()}
    assert expected["archived and stored"].height == 2 * 79
    assert expected["incomplete too"]["source"].to_list()[-1] == "forming"

    def work() -> bool:
        assert fork_safety.without_polars()
        for what, ask in asks.items():
            assert ask().equals(expected[what]), what
        for call, said in (
            (lambda: reader.gaps(states=["lsot"]), "unknown state 'lsot'"),
            (lambda: reader.bars("NOPE", "1m", last=1), "unknown instrument 'NOPE'"),
            (lambda: reader.scan("BTC-USDT", "1m", START), "start workers by 'spawn'"),
        ):
            with pytest.raises((StoreError, ValueError), match=said):
                call()
        # a child of the child, while the child's own helper runs
        assert in_child(lambda: asks["stored"]().height == 80) == 0
        reader.close()
        return True

    assert in_child(work) == 0
    for what, ask in asks.items():
        assert ask().equals(expected[what]), what


def test_locks_that_other_threads_hold_at_the_fork_hold_up_no_child(filled: Store, reader: Reader) -> None:
    cached = reader.cached  # one answer is kept, and computed at the moment of the fork
    cached.bars("BTC-USDT", "1m", last=3)
    held = [filled.connections._lock, reader.store.connections._lock, reader.store.symbols._lock, cached.cache._lock]
    held += [reader.store.reader.router.small_reads.coalescer._lock]
    for lock in held:
        lock.acquire()
    try:
        code = in_child(
            lambda: (
                reader.bars("BTC-USDT", "1m", last=3).equals(cached.bars("BTC-USDT", "1m", last=3).value)
                and reader.store.instruments.ids()
            )
        )
    finally:
        for lock in held:
            lock.release()
    assert code == 0
    assert cached.bars("BTC-USDT", "1m", last=3).value.height == 3


def test_a_child_never_spends_what_its_parent_reserved(filled: Store) -> None:
    budget = filled.budgets.of("a venue")
    asyncio.run(budget.acquire(1))
    assert budget._block > 0
    assert in_child(lambda: budget._block == 0) == 0


# -- workers as those of a training loop -----------------------------------------------------------------------------


class Dataset:
    """Holds a reader, as datasets do."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def __getitem__(self, number: int) -> float:
        start = APRIL + number * MINUTE
        bars = self.reader.bars("ETH-USDT", "1m", start=start, end=start + MINUTE, columns=["open"])
        return float(bars["open"][0])


def work_through(dataset: Dataset, numbers: list[int], results: Any) -> None:
    try:
        results.put([dataset[number] for number in numbers])
    except Exception as error:
        results.put(repr(error))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_get_a_reader_with_their_data_set(filled: Store, reader: Reader, method: str) -> None:
    dataset = Dataset(reader)
    assert dataset[3] == 200
    context: Any = multiprocessing.get_context(method)
    results = context.Queue()
    workers = [context.Process(target=work_through, args=(dataset, [n, n + 1], results)) for n in (0, 10)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=HUNG) for _ in workers] == [[200.0, 200.0]] * 2
    for worker in workers:
        worker.join(HUNG)
        assert worker.exitcode == 0
    assert dataset[3] == 200


# -- pickles ---------------------------------------------------------------------------------------------------------

_ELSEWHERE = "import pickle, sys; r = pickle.load(sys.stdin.buffer); print(r.bars('BTC-USDT', '1m', last=3).height)"


def elsewhere(data: bytes, **environment: str) -> tuple[str, str]:
    """What a process that has nothing but the pickle prints, and its last word on stderr."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "CRYPTO_PIPELINE_"))}
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE], input=data, env={**kept, "HOME": "/nowhere", **environment},
        capture_output=True, timeout=HUNG, check=False,
    )  # fmt: skip
    return done.stdout.decode().strip(), (done.stderr.decode().strip().splitlines() or [""])[-1]


def test_a_reader_is_pickled_as_its_settings_and_without_its_password(
    filled: Store, read_database: str, reader: Reader
) -> None:
    password = read_database.split("@")[0].rpartition(":")[2]
    assert len(password) > 8
    expected = reader.bars("BTC-USDT", "1m", last=3)
    for made in (reader, reader.cached, reader.store, Dataset(reader)):
        assert password.encode() not in pickle.dumps(made)
    with Reader(read_database, patience=7.0, connections=3, statement_timeout=5.0, cache_bytes=12345) as other:
        again = pickle.loads(pickle.dumps(other))
        assert (again.store.connections.patience, again.store.connections.size) == (7.0, 3)
        assert again._cache_bytes == 12345
        assert again.bars("BTC-USDT", "1m", last=3).equals(expected)
        again.close()
    for another in (copy.copy(reader), copy.deepcopy(reader), pickle.loads(pickle.dumps(reader.cached))._source):
        assert another.bars("BTC-USDT", "1m", last=3).equals(expected)
        another.close()
    data = pickle.dumps(reader)
    out, said = elsewhere(data)
    assert out == ""
    assert "correct user and password" in said
    assert password not in said
    assert elsewhere(data, CRYPTO_PIPELINE_DATABASE_URL=read_database)[0] == "3"
    assert elsewhere(data, PGPASSWORD=password)[0] == "3"


def test_no_form_of_a_url_keeps_its_password() -> None:
    for url in (
        "postgresql://u:se%40cret@host:5432/db?sslmode=require",
        "postgres://u@host/db?password=se%40cret&sslmode=require",
        "postgresql+psycopg2://:se%40cret@host/db",
    ):
        bare = without_password(url)
        assert "cret" not in bare
        assert bare.startswith("postgresql://")
        assert "host" in bare


# -- signals ---------------------------------------------------------------------------------------------------------


@contextmanager
def locked(url: str) -> Iterator[Callable[[], int]]:
    """The table locked, so that every read of it waits; gives how many wait."""
    with connect(url) as locking, connect(url) as watching:

        def waiting() -> int:
            row = watching.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
            assert row is not None
            return int(row[0])

        with locking.transaction():
            locking.execute("LOCK TABLE market.ohlc_data IN ACCESS EXCLUSIVE MODE")
            yield waiting


@pytest.mark.parametrize("kind", ["small", "wide", "cached"])
def test_an_interrupted_read_leaves_nothing_broken(
    filled: Store, read_database: str, reader: Reader, kind: str
) -> None:
    asks: dict[str, Callable[[], pl.DataFrame]] = {
        "small": lambda: reader.bars("BTC-USDT", "1m", last=3),
        "wide": lambda: reader.bars(["BTC-USDT", "ETH-USDT"], "1m", start=APRIL, end=APRIL + 10 * DAY),
        "cached": lambda: reader.cached.bars("BTC-USDT", "1m", last=4).value,
    }
    ask, found = asks[kind], []
    other = threading.Thread(target=lambda: found.append(asks["cached"]()))
    with locked(read_database) as waiting:

        def interrupt() -> None:
            while not waiting():
                time.sleep(0.005)
            if kind == "cached":
                other.start()  # asks the same, and is not who is interrupted
                while not reader.cached.stats.joined:
                    time.sleep(0.005)
            os.kill(os.getpid(), signal.SIGINT)

        helper = threading.Thread(target=interrupt)
        helper.start()
        with pytest.raises(KeyboardInterrupt):
            ask()
        helper.join()
    if kind == "cached":
        other.join(HUNG)
        assert found[0].height == 4
    assert reader.bars("BTC-USDT", "1m", last=3)["open"].to_list() == [100.0] * 3
    assert reader.bars("ETH-USDT", "1m", last=3)["open"].to_list() == [200.0] * 3
    assert asks["wide"]().height == 80
    assert asks["cached"]().height == 4
    for _ in range(2 * reader.store.connections.size):  # no place was lost either
        assert ask().height


def test_reads_work_where_an_event_loop_runs(filled: Store, reader: Reader) -> None:
    async def main() -> None:
        assert reader.bars("BTC-USDT", "1m", last=3).height == 3
        assert reader.bars(["BTC-USDT", "ETH-USDT"], "1m", start=START, end=APRIL + DAY).height == 158
        assert reader.cached.bars("BTC-USDT", "1m", last=3).value.height == 3
        many = await asyncio.gather(*(asyncio.to_thread(reader.bars, "ETH-USDT", "1m", last=2) for _ in range(20)))
        assert [each.height for each in many] == [2] * 20

    asyncio.run(main())
