"""Orders under fire: a thousand through an exchange that fails in every way, by a desk that is killed all the time.

    python bench/handover.py [--orders 1000] [--open 12] [--seed 1] [--no-kills]

The replay exchange runs at real speed with Binance's order API and all faults of orders at once; the order loop runs
as a process that gets SIGKILL every few seconds. In the end the exchange's own account is compared with what is stored,
and the exchange's record of orders says how long anything that was held had no stop.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import IO

from common import database, machine, postgres

from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.replay.orders.types import STOPS
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.order_desk import BROKER, account, differences, position

NOW = datetime(2026, 11, 21, 9, 30, 30, tzinfo=UTC)
NAMES = ("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "AVAX", "DOGE", "DOT", "LINK")
#: What is worth less than this may be unprotected: the rests of many positions that are below the exchange's step.
DUST = 50.0
FAULTS = (
    {"kind": "order_timeout", "manner": "close", "booked": True, "probability": 0.03},
    {"kind": "order_timeout", "manner": "close", "booked": False, "probability": 0.03},
    {"kind": "order_timeout", "manner": "close", "late": 0.4, "probability": 0.02},
    {"kind": "order_timeout", "manner": "unknown", "probability": 0.02},
    {"kind": "order_timeout", "manner": "hang", "probability": 0.01},
    {"kind": "order_reject", "probability": 0.01},
    {"kind": "order_reject", "code": -1015, "message": "Too many new orders.", "probability": 0.02},
    {"kind": "order_partial", "share": 0.5, "seconds": 1, "probability": 0.15},
    {"kind": "order_partial", "share": 0, "seconds": 1, "probability": 0.05},
    {"kind": "late_fills", "seconds": 1, "probability": 0.1},
    {"kind": "duplicate_fills", "probability": 0.2},
    {"kind": "order_clock_skew", "milliseconds": 8000, "probability": 0.01},
    {"kind": "server_error", "endpoint": ["order", "oco", "openOrders", "myTrades"], "probability": 0.01},
    {"kind": "malformed", "endpoint": ["order", "oco", "openOrders", "myTrades"], "probability": 0.01},
    {"kind": "truncated", "endpoint": ["order", "oco", "openOrders", "myTrades"], "probability": 0.01},
)


@dataclass
class Desk:
    """The desk's process, with when it was killed and when the next one held the lease (real seconds)."""

    command: list[str]
    process: subprocess.Popen[str] | None = None
    away: list[tuple[float, float]] = field(default_factory=list)
    kills: int = 0
    works_since: float | None = None
    _killed_at: float = 0.0

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True).start()

    def _listen(self, lines: IO[str]) -> None:
        for line in lines:
            if line.strip() == "working":
                self.works_since = time.time()
                self.away.append((self._killed_at, self.works_since))

    def kill(self) -> None:
        assert self.process is not None
        self._killed_at = time.time()
        self.process.kill()
        self.process.wait()
        self.kills, self.works_since = self.kills + 1, None


def unprotected(exchange: ReplayExchange, desk: Desk, offset: float) -> list[tuple[float, float]]:
    """Spans (start, seconds) in which something was held without a stop while a desk worked, by the exchange's record.

    A span that begins while no desk works counts from when the next one held the lease.
    """
    holder, spans = account(exchange), []
    for symbol in {order.request.symbol for order in holder.orders.values()}:
        held, stops, since = Decimal(0), {}, None
        price = float(exchange.accounts.last_price(symbol, exchange.clock.now_ms()))
        for event in (event for event in holder.events if event.order.request.symbol == symbol):
            order, fill, at = event.order, event.execution, event.time_ms / 1000 - offset
            if fill is not None:
                base = fill.commission if fill.commission_asset + "USDT" == symbol else Decimal(0)
                held += (fill.quantity if fill.side == "BUY" else -fill.quantity) - base
            if order.request.type in STOPS:
                stops[order.order_id] = order.remaining if order.is_open else Decimal(0)
            bare = float(held - sum(stops.values(), Decimal(0))) * price > DUST
            if bare and since is None:
                since = at
            elif not bare and since is not None:
                spans.append((since, seconds_of(since, at, desk.away)))
                since = None
        if since is not None:
            spans.append((since, 1e9))
    return sorted(spans, key=lambda span: -span[1])


def seconds_of(start: float, end: float, away: list[tuple[float, float]]) -> float:
    """The longest part of a span in which a desk worked without a pause."""
    parts, at = [], start
    for gone, back in sorted(away):
        if back > at and gone < end:
            parts.append(max(0.0, gone - at))
            at = max(at, back)
    return max([*parts, end - at])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--open", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-kills", action="store_true")
    given = parser.parse_args()
    draw = random.Random(given.seed)
    names = [f"{name}-USDT" for name in NAMES]
    with (
        postgres() as server,
        database(server, "bench") as url,
        Store(url) as store,
        running_exchange(now=NOW, weight_limit=0, instruments=names) as exchange,
    ):
        store.instruments.add([Instrument.crypto(name) for name in names])
        offset = exchange.clock.now_ms() / 1000 - time.time()
        command = [sys.executable, "-m", "crypto_pipeline_tests.builders.order_process", url, exchange.url, str(offset)]
        desk = Desk(command)
        desk.start()
        exchange.control(*FAULTS)
        started, number = time.time(), 0
        # a few seconds after it began to work, now and then before
        lives_for, dies_at_start = draw.uniform(0.1, 8), False
        last_said = 0.0
        while True:
            outbox, holder = store.trading.outbox, account(exchange)
            waiting = outbox.handovers(BROKER)
            while len(holder.orders) < given.orders and len(waiting) < given.open:
                made = position(
                    exchange, number, instrument=draw.choice(names), stop=str(draw.choice((0.9996, 0.9998, 0.97))),
                    target=str(draw.choice((1.0004, 1.0002, 1.03))), factor=draw.choice((None, None, "1.0005")),
                    exit_after=draw.uniform(4, 25), grid=draw.choice((0, 0, 2)),
                )  # fmt: skip
                outbox.put(made)
                waiting.append(made)
                number += 1
            if not waiting:
                break
            worked = 0.0 if desk.works_since is None else time.time() - desk.works_since
            if not given.no_kills and (dies_at_start or worked > lives_for):
                time.sleep(draw.uniform(0, 1) if dies_at_start else 0)
                desk.kill()
                desk.start()
                lives_for, dies_at_start = draw.uniform(0.1, 8), draw.random() < 0.1
            if time.time() - last_said > 20:
                last_said = time.time()
                done = f"{number} positions, {len(waiting)} open, {len(holder.orders)} orders, {desk.kills} kills"
                print(f"{time.time() - started:4.0f} s: {done}, {outbox.counts(BROKER)}", flush=True)
            time.sleep(0.05)
        time.sleep(3)
        desk.kill()
        report(store, exchange, desk, number, time.time() - started, offset)


def report(store: Store, exchange: ReplayExchange, desk: Desk, number: int, seconds: float, offset: float) -> None:
    holder, outbox = account(exchange), store.trading.outbox
    all_of = outbox.handovers(BROKER, closed=True)
    reasons = [one.reason for one in all_of]
    failed = sum(reason in ("not_entered", "entry_too_late", "too_small") for reason in reasons)
    spans = unprotected(exchange, desk, offset)
    print(machine())
    print(f"{len(holder.orders)} orders of {number} positions, {len(holder.executions)} fills, in {seconds:.0f} s")
    print(f"{desk.kills} kills; faults: {[(one['kind'], one['struck']) for one in exchange.server.faults.show()]}")
    print(
        f"ended: { {reason: reasons.count(reason) for reason in set(reasons)} }; orders here: {outbox.counts(BROKER)}"
    )
    print(f"not entered: {failed} of {number} ({failed / max(1, number):.1%})")
    print(f"open orders left at the exchange: {len(holder.open_orders())}")
    print(f"differences: {differences(store, exchange)}")
    over = [span for span in spans if span[1] > 5]
    print(f"{len(spans)} spans without a stop, the longest {spans[0][1] if spans else 0:.2f} s, {len(over)} over 5 s")
    for start, length in over[:10]:
        print(
            f"   at {start:.1f} for {length:.2f} s; desk away {[span for span in desk.away if span[1] > start - 1][:3]}"
        )


if __name__ == "__main__":
    main()
