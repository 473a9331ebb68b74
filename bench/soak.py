"""A whole deployment under faults: every fault of the stream, SIGKILL of every program; then a comparison with the
tape.

    python bench/soak.py [--minutes 25] [--kills 10] [--instruments 30] [--seed 1] [--cuts 10]

First some cuts of the line in peace, to time how soon the hole is healed. Then message faults all the time, faults of
the line every few seconds, and kills of ingest, of the daemon, of the code server, of the last two at once and of
PostgreSQL, ``--kills`` of each. Natural faults of a venue come a few times a day; here they come every few seconds,
far more than 50 times as often. In the end trades and 1m bars of the whole span must equal what the exchange says of
it once nothing fails any more, every bar must be complete, and nothing may be missing without a reason.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from common import machine, numbers, table
from deployed import Deployed

from crypto_pipeline.market.timeframes import Timeframe

MINUTE = timedelta(minutes=1)
#: Permanent faults, as shares of messages.
MESSAGES = [
    {"kind": "ws_duplicate", "probability": 0.01},
    {"kind": "ws_reorder", "probability": 0.01, "by": 2},
    {"kind": "ws_delay", "probability": 0.005, "seconds": 3},
    {"kind": "ws_drop", "probability": 0.01},
    {"kind": "ws_malformed", "probability": 0.003},
    {"kind": "ws_malformed", "probability": 0.001, "manner": "body", "body": "<html>502</html>"},
    {"kind": "ws_bad_ids", "probability": 0.002},
    {"kind": "ws_bad_ids", "probability": 0.002, "manner": "repeat"},
    {"kind": "ws_bad_ids", "probability": 0.001, "manner": "zero"},
    {"kind": "ws_clock_skew", "probability": 0.002, "milliseconds": -1500},
    {"kind": "ws_clock_skew", "probability": 0.001, "milliseconds": 2500},
    {"kind": "server_error", "probability": 0.01},
]
#: Faults that are set one after another, between the kills.
LINES: dict[str, list[dict[str, Any]]] = {
    "cut": [{"kind": "ws_cut", "manner": "abort", "count": 1}],
    "half a frame": [{"kind": "ws_cut", "manner": "half", "count": 1}],
    "close": [{"kind": "ws_cut", "manner": "close", "count": 1}],
    "freeze": [{"kind": "ws_freeze", "seconds": 20, "count": 1}],
    "freeze of one symbol": [{"kind": "ws_freeze", "seconds": 20, "symbol": "BTC-USDT", "count": 1}],
    "slow consumer": [{"kind": "ws_slow_consumer", "bytes": 0, "count": 1}],
    "maintenance": [{"kind": "ws_maintenance", "closes_after": 3, "down_seconds": 4, "for_seconds": 2}],
    "one connection only": [{"kind": "ws_refuse", "connections": 1, "for_seconds": 6}, {"kind": "ws_cut", "count": 1}],
    "the older is evicted": [{"kind": "ws_refuse", "connections": 1, "manner": "evict", "for_seconds": 6}],
    "venue down": [{"kind": "outage", "for_seconds": 5}],
}
KILLS = {
    "ingest": ("ingest",),
    "daemon": ("daemon",),
    "code server": ("code-server",),
    "daemon and code server": ("daemon", "code-server"),
    "PostgreSQL": ("postgres",),
}


class Range(Deployed):
    """The deployment, with methods that inject faults."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.rng = given, random.Random(given.seed)
        super().__init__("--instruments", str(given.instruments), replay_intensity=str(given.intensity))
        self.took: dict[str, list[float]] = {name: [] for name in KILLS}
        self.struck: Counter[str] = Counter()
        self.healed: list[float] = []

    # -- striking -------------------------------------------------------------------------------------------------

    def cut_in_peace(self) -> None:
        """Cut the connection and measure the time until all trades of the outage are stored."""
        cuts = self.detail()["link_cuts"]
        self.fault([{"kind": "ws_cut", "count": 1}])
        self.until(lambda: self.detail().get("link_cuts", 0) > cuts, 30, "a cut is noticed")
        began = time.monotonic()
        time.sleep(1)
        known = {symbol: self.last_id(symbol) for symbol in self.symbols}

        def whole() -> bool:
            now = datetime.now(UTC)
            last = self.store.trades.last_ids("replay", list(known))
            if any(name not in last or last[name].trade_id < number for name, number in known.items()):
                return False
            return self.store.trades.missing("replay", list(known), now - 5 * MINUTE, now + MINUTE).is_empty()

        self.until(whole, 60, "the hole of a cut is healed")
        self.healed.append(time.monotonic() - began)
        time.sleep(2)

    def last_id(self, symbol: str) -> int:
        return int(self.ask(f"/api/v3/aggTrades?symbol={symbol.replace('-', '')}&limit=1")[-1]["a"])

    def kill(self, name: str) -> None:
        before = self.detail().get("pid")
        victims = [before if part == "ingest" else self.house.pid(part) for part in KILLS[name]]
        for pid in victims:
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        began = time.monotonic()
        if name == "ingest":
            self.until(lambda: self.live(before), 120, "a new ingest is live")
        else:
            for pid in victims:
                self.house.await_healthy(120, without=pid)
            self.until(self.live, 180, f"ingest is live after the kill of {name}")
        self.took[name].append(time.monotonic() - began)
        print(f"{datetime.now(UTC):%H:%M:%S} killed {name}: live after {self.took[name][-1]:.1f} s", flush=True)

    def strikes(self) -> Iterator[str]:
        """Kill each program several times, in random order, over the given minutes."""
        names = [name for name in KILLS for _ in range(self.given.kills)]
        self.rng.shuffle(names)
        yield from names

    # -- the run --------------------------------------------------------------------------------------------------

    def run(self) -> int:
        self.house.start()
        self.until(lambda: self.live(), 120, "ingest is live")
        time.sleep(3)
        start = Timeframe.M1.ceil(datetime.now(UTC))
        for _ in range(self.given.cuts):
            self.cut_in_peace()
        began = time.monotonic()
        self.fault(MESSAGES)
        names = list(self.strikes())
        for place, name in enumerate(names):
            # spread over the minutes given, with two faults of the line before each at least
            due = began + self.given.minutes * 60 * place / len(names)
            for line in self.rng.sample(list(LINES), 2):
                self.fault(LINES[line])
                self.struck[line] += 1
                time.sleep(self.rng.uniform(2, 6))
            time.sleep(max(0.0, due - time.monotonic()))
            self.kill(name)
        while time.monotonic() - began < self.given.minutes * 60:
            line = self.rng.choice(list(LINES))
            self.fault(LINES[line])
            self.struck[line] += 1
            time.sleep(self.rng.uniform(2, 6))
        fired = time.monotonic() - began
        self.clear()
        self.until(lambda: self.live(), 180, "ingest is live in the end")
        end = Timeframe.M1.floor(datetime.now(UTC))
        time.sleep(60)
        return self.tell(start, end, fired)

    def tell(self, start: datetime, end: datetime, fired: float) -> int:
        until = time.monotonic() + 240
        while (wrong := self.compare(start, end)) and time.monotonic() < until:
            time.sleep(5)
        waited = 240 - (until - time.monotonic())
        print(machine())
        rows = [(name, len(took), statistics.median(took), max(took)) for name, took in self.took.items() if took]
        table(
            ["killed", "times", "live again s, median / most"],
            [[name, times, f"{middle:.1f} / {most:.1f}"] for name, times, middle, most in rows],
        )
        print(f"\nline faults in {fired / 60:.1f} minutes: {dict(self.struck)}")
        print(f"hole healed after the cut was noticed, s: median {statistics.median(self.healed):.1f}, "
              f"most {max(self.healed):.1f} of {len(self.healed)}" if self.healed else "")  # fmt: skip
        print(f"span {start:%H:%M} to {end:%H:%M}; {self.counted}; settled {waited:.0f} s after the last look began")
        if wrong and self.given.keep:
            shutil.copytree(self.house.data_dir, self.given.keep, ignore=shutil.ignore_patterns("postgres", "*.sock"))
        print("differences: none" if not wrong else f"DIFFERENCES: {wrong}")
        return 1 if wrong else 0


if __name__ == "__main__":
    parser = numbers(__doc__, minutes=25.0, kills=10, instruments=32, intensity=50, seed=1)
    parser.add_argument("--keep", help="Folder for the logs, should anything differ.")
    parser.add_argument("--cuts", type=int, default=10)
    soak = Range(parser.parse_args())
    try:
        code = soak.run()
    finally:
        soak.house.stop()
    sys.exit(code)
