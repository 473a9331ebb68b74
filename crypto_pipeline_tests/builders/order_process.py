"""``python -m crypto_pipeline_tests.builders.order_process DATABASE EXCHANGE OFFSET``: the order loop, to be killed.

It prints a line when it holds the lease, and one when it has compared itself with the exchange.
"""

from __future__ import annotations

import logging
import sys
import threading
from datetime import UTC, datetime, timedelta

from crypto_pipeline.replay.server.accounts.desk import DEFAULT_KEY, DEFAULT_SECRET
from crypto_pipeline.store import Store
from crypto_pipeline.trading.brokers.ccxt_exchange import CcxtBroker
from crypto_pipeline.trading.stored.order_loop import OrderLoop
from crypto_pipeline_tests.builders.databases import from_argument


def main(database: str, exchange: str, offset_seconds: float = 0.0) -> None:
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    broker = CcxtBroker("binance", DEFAULT_KEY, DEFAULT_SECRET, url=exchange)
    offset = timedelta(seconds=offset_seconds)
    with Store(from_argument(database), connections=3) as store:
        loop = OrderLoop(store, broker, lambda: datetime.now(UTC) + offset, every=0.1)
        threading.Thread(target=_tell, args=(loop,), daemon=True).start()
        loop.run(threading.Event())


def _tell(loop: OrderLoop) -> None:
    loop.working.wait()
    print("working", flush=True)
    loop.ready.wait()
    print("ready", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
