"""SIGKILL of the process that sends orders, under faults of the exchange: nothing lost, nothing doubled, all protected.

The whole loop of a thousand orders stands in ``bench/handover.py``. Guards I7 and I12 (docs/invariants.md).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from crypto_pipeline.replay import running_exchange
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.bars import add_symbols
from crypto_pipeline_tests.builders.databases import as_argument
from crypto_pipeline_tests.builders.order_desk import BROKER, account, differences, position

NOW = datetime(2026, 11, 21, 9, 30, 30, tzinfo=UTC)
FAULTS = (
    {"kind": "order_timeout", "manner": "close", "booked": True, "probability": 0.2},
    {"kind": "order_timeout", "manner": "close", "booked": False, "probability": 0.1},
    {"kind": "order_partial", "share": 0.5, "seconds": 0, "probability": 0.2},
    {"kind": "duplicate_fills"},
)


@pytest.mark.faults
def test_killed_between_any_two_requests_it_ends_as_the_exchange_has_it(postgres_url: str) -> None:
    names = ("BTC-USDT", "ETH-USDT")
    with Store(postgres_url) as store, running_exchange(now=NOW, weight_limit=0, instruments=names) as exchange:
        add_symbols(store)
        outbox, holder = store.trading.outbox, account(exchange)
        for number in range(6):
            outbox.put(position(exchange, number, instrument=names[number % 2], stop="0.9", target="1.1"))
        exchange.control(*FAULTS)
        offset = exchange.clock.now_ms() / 1000 - time.time()
        command = [sys.executable, "-m", "crypto_pipeline_tests.builders.order_process"]
        command += [as_argument(postgres_url), exchange.url, str(offset)]

        def work_until(done: Callable[[], bool]) -> None:
            """Let a process work until something is so, and kill it at once."""
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            try:
                deadline = time.monotonic() + 120
                while not done():
                    assert time.monotonic() < deadline, outbox.counts(BROKER)
                    assert process.poll() is None
            finally:
                process.kill()
                process.wait()

        def bought() -> int:
            return sum(order.request.side == "BUY" for order in list(holder.orders.values()))

        work_until(lambda: bought() > 0)
        work_until(lambda: bought() == 6)
        outbox.close(BROKER, "the test ends")
        work_until(lambda: not outbox.handovers(BROKER))
        assert differences(store, exchange) == []
        assert not holder.open_orders()
        assert bought() == 6
        assert {one.reason for one in outbox.handovers(BROKER, closed=True)} == {"the test ends"}
