"""Times of events from `up` on an empty data directory to a complete database with passing checks.

    python bench/first_minutes.py [--instruments 20] [--days 7] [--sources] [--rounds 1] [--patience 180]

Free ports, a data directory of its own, the generated market; everything is thrown away afterwards. Goals on 2 cores:
the UI answers within 20 s, complete (every bar there or explained, all checks passed) within 60 s, features and labels
of every strategy have rows within 120 s. ``--sources``: 20 crypto instruments of two venues, ten stocks and five macro
series in one deployment, complete within 90 s.
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
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import psycopg
from common import cpu_seconds, load, machine, table

from crypto_pipeline.defaults import REPLAY, SECOND_REPLAY
from crypto_pipeline.market.instruments import AssetClass
from crypto_pipeline.market.universe import load_universe
from crypto_pipeline.ops.host.paths import Places, running_state
from crypto_pipeline.ops.status import Stored
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import EmbeddedServer, Store, StoreError
from crypto_pipeline_tests.builders.deployment import FREE_PORTS

_RUNS = """
SELECT pipeline_name, status, extract(epoch FROM create_timestamp AT TIME ZONE 'UTC')::float8, start_time, end_time,
       coalesce(run_body::json->'tags'->>'processor', '')
FROM runs ORDER BY create_timestamp
"""


_RESEARCH = ("ml_features", "strategy_dca_labels", "strategy_swing_labels", "strategy_channel_labels")


class Watch:
    """Records events of one deployment, in seconds since the call of `up`."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.begin = time.time()
        self.marks: dict[str, float] = {}
        self.rows: dict[str, int] = {}
        command = [sys.executable, "-m", "crypto_pipeline.cli", "up", *FREE_PORTS]
        command += ["--data-dir", str(folder)]
        if options.sources:
            command += ["--with-stocks", "--with-macro", "--instruments", "20"]
        if options.instruments:
            command += ["--instruments", options.instruments]
        if options.days:
            command += ["--days", str(options.days)]
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CRYPTO_PIPELINE_", "DAGSTER_", "PYTHON"))
        }
        if options.sources:
            universe = folder / "universe.toml"
            universe.write_text(universe_of_two_venues())
            clean["CRYPTO_PIPELINE_UNIVERSE_FILE"] = str(universe)
        self.output = (folder / "output").open("w")
        self.up = subprocess.Popen(command, env=clean, stdout=self.output, stderr=self.output)
        self.process = psutil.Process(self.up.pid)
        self.cpu = 0.0

    def mark(self, name: str) -> None:
        self.marks.setdefault(name, time.time() - self.begin)

    def follow(self, patience: float) -> bool:
        """Wait until the database is complete; False after ``patience`` seconds."""
        url = ""
        done = False
        while time.time() - self.begin < patience and self.up.poll() is None:
            time.sleep(0.25)
            state = running_state(Places(self.folder))
            if state is None or "ui" not in state.urls:
                continue
            if "UI answers" not in self.marks and _answers(state.urls["ui"] + "/server_info"):
                self.mark("UI answers")
            if state.phase == "healthy":
                self.mark("all healthy")
                url = url or EmbeddedServer(self.folder).url()
                if not done and self.look(url):
                    done = True
                    self.mark("complete and green")
                    self.cpu = cpu_seconds([self.process])
                if self.research(url) and done:
                    return True
        return done

    def research(self, url: str) -> bool:
        """Whether features and labels of every strategy have rows."""
        with psycopg.connect(url) as connection:
            for name in _RESEARCH:
                if name not in self.marks:
                    query = f"SELECT EXISTS (SELECT FROM research.{name})"
                    if connection.execute(query).fetchone() == (True,):
                        self.mark(name)
            self.rows = {name: _count(connection, name) for name in _RESEARCH}
        return all(name in self.marks for name in _RESEARCH)

    def look(self, url: str) -> bool:
        try:
            with Store(url) as store:
                stored = Stored.read(store)
        except StoreError:
            return False
        for name, row in stored.timeframes.items():
            if row["expected"] and not row["missing"]:
                self.mark(f"{name} complete")
        for part in (1, 42, stored.checks_wanted):
            if stored.checks_passed >= part:
                self.mark(f"{part} checks passed")
        return stored.complete

    def runs(self) -> list[list[Any]]:
        with psycopg.connect(EmbeddedServer(self.folder).url("dagster")) as connection:
            rows = connection.execute(_RUNS).fetchall()
        ago = [[None if moment is None else f"{moment - self.begin:.1f}" for moment in row[2:5]] for row in rows]
        return [[row[0], row[5], row[1], *moments] for row, moments in zip(rows, ago, strict=True)]

    def stop(self) -> None:
        self.up.send_signal(signal.SIGINT)
        try:
            self.up.wait(90)
        finally:
            self.output.close()


def universe_of_two_venues() -> str:
    """A universe file: the first ten pairs at each of the two replay exchanges, and the stocks of the usual one."""
    usual = load_universe()
    pairs = [one.base for one in usual if one.asset_class is AssetClass.CRYPTO][:10]
    stocks = [one.symbol for one in usual if one.asset_class is AssetClass.STOCK]
    groups = [f'tier = "large"\nvenue = "{venue}"\nsymbols = {pairs}' for venue in (REPLAY, SECOND_REPLAY)]
    groups.append(f'tier = "stock"\nasset_class = "stock"\ncalendar = "XNYS"\nsymbols = {stocks}')
    return "\n\n".join(f"[[group]]\n{group}" for group in groups)


def _count(connection: psycopg.Connection[Any], name: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM research.{name}").fetchone()
    assert row is not None
    return int(row[0])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def once(options: argparse.Namespace) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp(prefix="cp-first-"))
    watch = Watch(folder, options)
    try:
        begun = load()
        finished = watch.follow(options.patience)
        print(f"load average when it began: {begun}, at the end: {load()}\n")
        print(f"{machine()}\n")
        table(
            ["moment", "s since `up`"],
            [[name, f"{at:.1f}"] for name, at in sorted(watch.marks.items(), key=lambda mark: mark[1])],
        )
        print(f"\nProcessor time until complete: {watch.cpu:.1f} s. Rows: {watch.rows}.\n")
        table(["run of", "by", "status", "created", "started", "ended"], watch.runs())
        print()
        if not finished:
            print((folder / "output").read_text())
            settings = load_settings(data_dir=folder)
            with Store(EmbeddedServer(settings.data_dir).url()) as store:
                print(Stored.read(store))
        return watch.marks | {"cpu": watch.cpu}
    finally:
        watch.stop()
        if options.keep:
            print(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", help="a number or a list; default: that of `up`")
    parser.add_argument("--days", type=int, help="default: that of `up`")
    parser.add_argument("--sources", action="store_true", help="two venues, stocks and macro series")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--patience", type=float, default=180)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    rounds = [once(options) for _ in range(options.rounds)]
    names = ("UI answers", "all healthy", "complete and green", *_RESEARCH, "cpu")
    if len(rounds) > 1:
        rows = [[name, f"{statistics.median(each.get(name, float('nan')) for each in rounds):.1f}"] for name in names]
        print(f"Medians of {len(rounds)}, load {load()}\n")
        table(["moment", "s"], rows)


if __name__ == "__main__":
    main()
