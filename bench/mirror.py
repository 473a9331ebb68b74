"""How long the mirror of one more day takes, in a small and in a large store; and the first mirror of all of it.

    python bench/mirror.py SMALL [LARGE …]

Each folder was made by ``bench/big_store.py``; nobody else uses it. Its mirror is made in FOLDER/bench-mirror as on the
day before its last, then again and again the one day that is new a day later, as every cell of it has changed: that is
what a deployment does every night. The best of the rounds is shown, and all of them. A mirror that is there is used.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from bench.common import machine, table
from crypto_pipeline.lake.mirror.maker import MirrorMaker, MirrorReport
from crypto_pipeline.store import EmbeddedServer, Store, migrate
from crypto_pipeline.store.archive.object_store import ArchiveStorage

DAY = timedelta(days=1)


CHANGE = """
UPDATE market.coverage SET data_version = nextval('market.data_version') WHERE day = %s AND timeframe <> '1w'
"""


def measure(folder: Path, rounds: int) -> list[object]:
    with EmbeddedServer(folder).running() as url:
        migrate(url)
        with Store(url) as store:
            _, end = store.connections.row("SELECT sum(present), max(day) FROM market.coverage WHERE timeframe = '1m'")
            (bars,) = store.connections.row("SELECT sum(present) FROM market.coverage")
            last = store.clock.now().replace(year=end.year, month=end.month, day=end.day, hour=12)
            maker = MirrorMaker(store, ArchiveStorage(str(folder / "bench-mirror")), folder / "bench-scratch")
            first = maker.run(last - DAY, take_over=True)
            day, nothing, whole = [], [], []
            for _ in range(rounds):
                store.connections.run(lambda connection: connection.execute(CHANGE, [end - DAY]) and None)
                day.append(timed(lambda: maker.run(last)))
                nothing.append(timed(lambda: maker.run(last)))
                whole.append(timed(lambda: maker.run(last, whole=True)))
    figures = first.as_dict()
    made = day[0][2].as_dict()
    return [
        f"{bars:,}", f"{figures['rows']:,} in {figures['seconds']:.0f} s",
        f"{figures['rows'] / max(figures['seconds'], 0.001):,.0f}",
        f"{figures['bytes'] / max(figures['rows'], 1):.1f}",
        f"{made['rows']:,} in {made['files']} files", *(best(runs) for runs in (day, nothing, whole)),
    ]  # fmt: skip


def timed(work: Callable[[], MirrorReport]) -> tuple[float, float, MirrorReport]:
    """Seconds of the clock and of this process' processor, and the report."""
    clock, used = time.perf_counter(), time.process_time()
    report = work()
    return time.perf_counter() - clock, time.process_time() - used, report


def best(runs: list[tuple[float, float, MirrorReport]]) -> str:
    clock = sorted(one[0] for one in runs)
    return f"{clock[0]:.2f} s ({', '.join(f'{one:.2f}' for one in clock)}; cpu {min(one[1] for one in runs):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    print(machine())
    head = ["bars", "first mirror", "rows/s", "bytes a row", "one more day", "made in", "nothing to do", "a whole look"]
    table(head, [measure(folder, options.rounds) for folder in options.folders])


if __name__ == "__main__":
    main()
