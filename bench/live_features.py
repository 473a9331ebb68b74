"""Live features of a running deployment: time from each 15m close until its rows are readable.

    python bench/live_features.py [--closes 4] [--instruments 20] [--days 7]     # starts `up`, waits, takes it down
    python bench/live_features.py --data-dir DIR [--closes 0]                     # of one that runs: what it has so far

Goal: within 10 s of the close. Per close: when the bars were read for it (`ml_features_live.known_at`) and when its
rows were there (the step's row in `ops.job_metrics`), both in seconds after the close by this machine's clock. The
first step of a fresh deployment makes up for closes before it and is left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common import load, machine, table

from crypto_pipeline.market import Timeframe
from crypto_pipeline.store import EmbeddedServer, Store, StoreError

_ROWS = """
SELECT f.available_at, count(*) AS rows,
       extract(epoch FROM min(f.known_at) - f.available_at)::float8 AS first_read,
       extract(epoch FROM max(f.known_at) - f.available_at)::float8 AS last_read,
       (SELECT max(extract(epoch FROM m.started - f.available_at) + m.seconds)::float8 FROM ops.job_metrics m
        WHERE m.job = 'live_features' AND m.started >= f.available_at AND m.started < f.available_at + interval '15 min'
       ) AS there,
       (SELECT max(m.seconds)::float8 FROM ops.job_metrics m
        WHERE m.job = 'live_features' AND m.started >= f.available_at AND m.started < f.available_at + interval '15 min'
       ) AS seconds
FROM research.ml_features_live f
GROUP BY 1 HAVING extract(epoch FROM min(f.known_at) - f.available_at) < 900 ORDER BY 1
"""


def closes(folder: Path) -> list[dict[str, Any]]:
    """Every close since ingest ran, oldest first."""
    with Store(EmbeddedServer(folder).url()) as store:
        begun = store.connections.frame("SELECT min(started) AS at FROM ops.job_metrics WHERE job = 'live_features'")
        found = store.connections.frame(_ROWS).to_dicts()
    first = begun["at"][0]
    return [one for one in found if first is None or one["available_at"] > first]


def wait(folder: Path, count: int) -> None:
    """Until ``count`` closes have passed, and half a minute more."""
    until = Timeframe.M15.floor(datetime.now(UTC)) + timedelta(minutes=15 * count, seconds=30)
    while (left := (until - datetime.now(UTC)).total_seconds()) > 0:
        time.sleep(min(left, 60))
        try:
            print(f"{datetime.now(UTC):%H:%M}: {len(closes(folder))} closes, load {load()}", flush=True)
        except StoreError as error:
            print(f"{datetime.now(UTC):%H:%M}: {error}", flush=True)


def report(folder: Path) -> None:
    found = closes(folder)
    print(f"{machine()}\n")
    rows = [
        [f"{one['available_at']:%H:%M}", one["rows"], f"{one['first_read']:.1f}", f"{one['last_read']:.1f}",
         f"{one['seconds'] or float('nan'):.2f}", f"{one['there'] or float('nan'):.1f}"]
        for one in found
    ]  # fmt: skip
    table(["close", "instruments", "bars read after s", "the last of them", "step s", "rows there after s"], rows)
    there = [one["there"] for one in found if one["there"] is not None]
    if there:
        middle, worst = statistics.median(there), max(there)
        print(f"\n{len(there)} closes: rows there after {middle:.1f} s (median), {worst:.1f} s (max)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--closes", type=int, default=4)
    parser.add_argument("--instruments", type=int, default=20)
    parser.add_argument("--days", type=int, default=7)
    options = parser.parse_args()
    if options.data_dir is not None:
        wait(options.data_dir, options.closes)
        report(options.data_dir)
        return
    folder = Path(tempfile.mkdtemp(prefix="cp-live-"))
    ports = [f"--{name}-port=0" for name in ("ui", "replay", "api")]
    chosen = [f"--data-dir={folder}", f"--instruments={options.instruments}", f"--days={options.days}"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CRYPTO_PIPELINE_", "DAGSTER_"))}
    with (folder / "output").open("w") as output:
        command = [sys.executable, "-m", "crypto_pipeline.cli", "up", *ports, *chosen]
        up = subprocess.Popen(command, env=clean, stdout=output, stderr=output)
        try:
            wait(folder, options.closes)
            report(folder)
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(90)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
