"""How long the mirror of one more day takes, in a small and in a large store; and the first mirror of all of it.

    python bench/mirror.py SMALL [LARGE …]

Each folder was made by ``bench/big_store.py``; nobody else uses it. Its mirror is made in FOLDER/bench-mirror as on the
day before its last, then the one day that is new a day later: that is what a deployment does every night.
"""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path

from bench.common import machine, table
from crypto_pipeline.lake.mirror.maker import MirrorMaker
from crypto_pipeline.store import EmbeddedServer, Store, migrate
from crypto_pipeline.store.archive.object_store import ArchiveStorage

DAY = timedelta(days=1)


def measure(folder: Path) -> list[object]:
    with EmbeddedServer(folder).running() as url:
        migrate(url)
        with Store(url) as store:
            _, end = store.connections.row("SELECT sum(present), max(day) FROM market.coverage WHERE timeframe = '1m'")
            (bars,) = store.connections.row("SELECT sum(present) FROM market.coverage")
            last = store.clock.now().replace(year=end.year, month=end.month, day=end.day, hour=12)
            maker = MirrorMaker(store, ArchiveStorage(str(folder / "bench-mirror")), folder / "bench-scratch")
            first = maker.run(last - DAY, take_over=True)
            day = maker.run(last)
            nothing = maker.run(last)
    figures = first.as_dict()
    return [
        f"{bars:,}", f"{figures['rows']:,} in {figures['seconds']:.0f} s",
        f"{figures['rows'] / max(figures['seconds'], 0.001):,.0f}",
        f"{figures['bytes'] / max(figures['rows'], 1):.1f}",
        f"{day.as_dict()['rows']:,} in {day.as_dict()['files']} files",
        f"{day.seconds:.2f} s", f"{nothing.seconds:.2f} s",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    options = parser.parse_args()
    print(machine())
    head = ["bars", "first mirror", "rows/s", "bytes a row", "one more day", "made in", "nothing to do"]
    table(head, [measure(folder) for folder in options.folders])


if __name__ == "__main__":
    main()
