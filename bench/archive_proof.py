"""Cost of the proof of an archive file before its first use, and a check that no flipped bit is ever read.

    python bench/archive_proof.py [--instruments 90] [--flips 300]

A month of 1m bars is archived by the product; then one instrument's month is read for the first time and again, and
bits of the file are flipped, one at a time, with its time of change put back.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from common import database, machine, numbers, postgres, table

from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.retention import Kept, RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage, local_path
from crypto_pipeline.store.archive.proof import DamagedFileError, forget_proofs
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline_tests.builders.bars import series
from crypto_pipeline_tests.builders.files import flip

MONTH, NEXT, NOW = (
    datetime(2025, 3, 1, tzinfo=UTC),
    datetime(2025, 4, 1, tzinfo=UTC),
    datetime(2025, 6, 1, tzinfo=UTC),
)
FOR_EVER = Kept(None, None)


def main() -> None:
    parser = numbers(__doc__, instruments=90, flips=300)
    options = parser.parse_args()
    print(machine())
    folder = Path(tempfile.mkdtemp(prefix="bench-proof-"))
    names = [f"A{number:02d}-USDT" for number in range(options.instruments)]
    with postgres() as server, database(server, "proof") as url, Store(url) as store:
        store.instruments.add([Instrument.crypto(name) for name in names])
        for first in range(0, len(names), 10):
            store.bars.write(series(tuple(names[first : first + 10]), 31 * 1440, MONTH), Timeframe.M1)
        policy = RetentionPolicy(
            dict.fromkeys(Timeframe, FOR_EVER) | {Timeframe.M1: Kept(30, None)}, Kept(7, 7), min_bars=0
        )
        Retention(store.connections, ArchiveStorage(str(folder)), folder / "scratch", policy).run(NOW)
        (file,) = store.archive.files("bars", Timeframe.M1)
        path = local_path(file.url)
        assert path is not None
        rows = []

        def read() -> tuple[float, object]:
            began = time.monotonic()
            frame = store.reader.read(names[:1], Timeframe.M1, MONTH, NEXT)
            return (time.monotonic() - began) * 1000, frame

        read()
        forget_proofs()
        first_use, whole = read()
        again = sorted(read()[0] for _ in range(9))[4]
        rows.append([f"{file.bytes / 1e6:.0f} MB", f"{first_use:.0f} ms", f"{again:.0f} ms"])
        table(["file", "first read of a process", "every other read"], rows)
        wrong = refused = 0
        size = path.stat().st_size * 8
        began = time.monotonic()
        for bit in random.Random(9).sample(range(size), options.flips):
            flip(path, bit)
            forget_proofs()
            try:
                _, found = read()
                wrong += not found.equals(whole)  # type: ignore[attr-defined]
            except DamagedFileError:
                refused += 1
            flip(path, bit)
        table(
            ["flips", "refused by name", "read wrong", "seconds"],
            [[options.flips, refused, wrong, f"{time.monotonic() - began:.0f}"]],
        )
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
