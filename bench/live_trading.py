"""Paper trading of a whole `up`, held against the same span decided and booked once more.

    python bench/live_trading.py [--minutes 30] [--kills 0] [--instruments 20] [--speed 60] [--backup]

The generated market runs ``--speed`` times as fast, with setups that are easier to meet than the default ones, so that
there is something to trade. ``--kills`` SIGKILLs, of all supervised programs in turn, PostgreSQL among them, are spread
over the minutes. In the end everything is stopped and the tables of trading are kept as they are. In a copy of the
database they are emptied, and one pass decides and books the whole span again. Every row must be the same in every
field but the times at which it was recorded. ``--backup``: the same after a backup and a restore.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from common import load, machine, table
from deployed import Deployed

from crypto_pipeline.ops.backups import backup
from crypto_pipeline.ops.backups.restore import restore
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import EmbeddedServer, Store
from crypto_pipeline.store.database.connect import connect, database_name, with_database
from crypto_pipeline.trading.stored.scans import ScanPass
from crypto_pipeline.trading.stored.trading_pass import trading_pass
from crypto_pipeline_tests.builders.databases import copied

EASY = {
    "dca": {"fall": 0.012, "volume_ratio": 0.5, "rsi_max": 60, "spacing": 20},
    "swing": {"breakout": 0.001, "volume_ratio": 0.8, "rsi_min": 40, "rsi_max": 90},
    "channel": {"containment": 0.8},
}
#: Columns that say when a row was recorded, which is another time in another pass.
RECORDED = {"scanned_at", "made_at", "created_at", "checked_version", "waits_since"}
#: Tables of shadow variants and of brokers, and what a person did.
NOT_TRADING = (
    "risk_resets", "handovers", "order_outbox", "venue_fills", "reconciliations", "shadow_variations",
    "shadow_testing_scans", "shadow_testing_trades", "shadow_outcomes", "shadow_tests", "shadow_changes",
)  # fmt: skip


class Traded(Deployed):
    """The deployment, its market time, and kills of its programs."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.rng = given, random.Random(given.seed)
        self.killed: Counter[str] = Counter()
        super().__init__(
            "--instruments", str(given.instruments), "--days", "20",
            replay_speed=str(given.speed), label_parameters=json.dumps({"default": EASY}),
        )  # fmt: skip

    def passed(self) -> int:
        """Moments that were processed."""
        with connect(self.url) as connection:
            row = connection.execute("SELECT count(*) FROM trading.equity").fetchone()
        assert row is not None
        return int(row[0])

    def stop(self) -> None:
        """End `up` and keep what is stored."""
        assert self.house.process is not None
        self.house.process.send_signal(signal.SIGINT)
        self.house.process.wait(120)

    def kill_one(self) -> None:
        found = [(info.name, info.pid) for info in self.house.ask().processes if info.pid]
        name, pid = self.rng.choice([one for one in found if one[0] != "replay"])
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.killed[name] += 1

    def run(self) -> Settings:
        """Trade for the given minutes, then stop. Returns the settings of the deployment."""
        self.house.start()
        self.until(self.live, 180, "ingest is live")
        self.until(lambda: self.passed() > 0, 600, "the first moments are processed")
        say(f"trading after {self.passed()} moments (load {load()})")
        began, kills = time.monotonic(), 0
        seconds = 60 * self.given.minutes
        while (gone := time.monotonic() - began) < seconds:
            if kills < self.given.kills * gone / seconds:
                with suppress(OSError, ValueError):
                    self.kill_one()
                    kills += 1
            time.sleep(0.2)
        self.house.await_healthy(300)
        self.until(self.live, 180, "ingest is live at the end")
        before = self.passed()
        self.until(lambda: self.passed() > before, 180, "one more moment is processed")
        say(f"{self.passed()} moments processed, {sum(self.killed.values())} kills (load {load()})")
        settings = load_settings(
            data_dir=self.house.data_dir, replay_speed=self.given.speed, label_parameters={"default": EASY},
            instruments=str(self.given.instruments), days=20,
        )  # fmt: skip
        self.stop()
        return settings


def say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", flush=True)


def rows_of(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of every table of trading, sorted, without the columns that say when they were recorded."""
    found = {}
    with connect(url) as connection:
        for name in tables_of(connection):
            columns = [
                row[0]
                for row in connection.execute(
                    "SELECT attname FROM pg_attribute WHERE attrelid = ('trading.' || %s)::regclass AND attnum > 0 "
                    "AND NOT attisdropped AND attidentity = '' ORDER BY attnum",
                    (name,),
                ).fetchall()
                if row[0] not in RECORDED
            ]
            chosen = ", ".join(f'"{column}"::text' for column in columns)
            rows = connection.execute(f"SELECT {chosen} FROM trading.{name}").fetchall()
            found[name] = sorted(rows, key=str)
    return found


def tables_of(connection: psycopg.Connection[Any]) -> list[str]:
    found = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'trading' "
        "AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT c.relname = ANY(%s) ORDER BY 1",
        (list(NOT_TRADING),),
    )
    return [name for (name,) in found.fetchall()]


def again(url: str, settings: Settings) -> float:
    """Empty the tables of trading and decide and book the whole span in one pass; seconds that it took."""
    with connect(url) as connection:
        row = connection.execute("SELECT scanned_from, scanned_until FROM trading.scan_progress").fetchone()
        assert row is not None
        names = ", ".join(f"trading.{name}" for name in tables_of(connection))
        connection.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
        # it begins where the first pass began, which depends on what had been collected by then
        connection.execute(
            "INSERT INTO trading.scan_progress (scanned_from, scanned_until) VALUES (%s, %s)", (row[0], row[0])
        )
    began = time.monotonic()
    with Store(url) as store:
        ScanPass(settings).run(store, row[1])
        trading_pass(store, settings)
    return time.monotonic() - began


def compare(what: str, ours: dict[str, list[Any]], theirs: dict[str, list[Any]]) -> bool:
    shown, equal = [], True
    for name, rows in ours.items():
        left, right = Counter(map(str, rows)), Counter(map(str, theirs[name]))
        only_live, only_again = list((left - right).elements()), list((right - left).elements())
        equal &= not only_live and not only_again
        shown.append([name, len(rows), len(only_live), len(only_again)])
        for side, found in (("live", only_live), ("again", only_again)):
            for one in found[:2]:
                say(f"{name}, only {side}: {one[:300]}")
    print(what)
    table(["table", "rows", "only live", "only again"], shown)
    return equal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--instruments", type=int, default=20)
    parser.add_argument("--speed", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--backup", action="store_true")
    given = parser.parse_args()
    print(machine())
    traded = Traded(given)
    try:
        settings = traded.run()
        with EmbeddedServer(settings.data_dir).running() as url:
            equal = judge(url, settings, given)
    finally:
        traded.house.stop()
    print(f"kills: {dict(traded.killed)}")
    print("equal in every field" if equal else "NOT EQUAL")
    return 0 if equal else 1


def judge(url: str, settings: Settings, given: argparse.Namespace) -> bool:
    live, name = rows_of(url), database_name(url)
    admin = with_database(url, "postgres")
    with copied(admin, name, "again"):
        seconds = again(with_database(url, "again"), settings)
        equal = compare(f"the same span once more, in {seconds:.1f} s", live, rows_of(with_database(url, "again")))
    if given.backup:
        folder = Path(tempfile.mkdtemp(prefix="cp-trading-"))
        with Store(url) as store:
            made = backup.make(settings, url, store.size_bytes(), say)
        target = settings.model_copy(update={"data_dir": folder / "copy"})
        restore(target, made, say)
        with EmbeddedServer(target.data_dir).running() as restored:
            equal &= compare("after a backup and a restore", live, rows_of(restored))
            seconds = again(restored, target)
            equal &= compare(f"there once more, in {seconds:.1f} s", live, rows_of(restored))
    return equal


if __name__ == "__main__":
    sys.exit(main())
