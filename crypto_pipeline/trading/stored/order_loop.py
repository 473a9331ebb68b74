"""The loop that works the order desk: one at a time, by a lease; after a start it asks and protects first."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime

import psycopg

from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.coordination.leases import Lease, LeaseLost
from crypto_pipeline.trading.brokers.opt_in import require_opt_in
from crypto_pipeline.trading.brokers.port import Broker, BrokerError
from crypto_pipeline.trading.stored.order_desk import LEASE, OrderDesk

log = logging.getLogger(__name__)
#: Seconds for which the lease is taken, and between two renewals: a desk that was killed is replaced so soon.
LEASE_SECONDS, _RENEW_EVERY = 3.0, 1.0
#: Seconds between two comparisons with the venue, and until one that did not pass is repeated.
COMPARE_EVERY, COMPARE_AGAIN = 300.0, 10.0


class OrderLoop:
    """Steps the desk until it is stopped.

    ``now``: the market's clock; ``opt_in``: what a person typed, which real money demands; ``intake``: called before
    each step. ``working`` is set once the lease is held, ``ready`` once a comparison passed.
    """

    def __init__(
        self,
        store: Store,
        broker: Broker,
        now: Callable[[], datetime],
        *,
        every: float = 1.0,
        opt_in: str | None = None,
        intake: Callable[[Store], object] | None = None,
    ) -> None:
        self.store, self.broker, self.now, self.every, self.intake = store, broker, now, every, intake
        self.opt_in = opt_in
        require_opt_in(broker, opt_in)
        self.working, self.ready = threading.Event(), threading.Event()
        self._compared = 0.0

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set. Outages of the database and the venue are waited for."""
        while not stop.is_set():
            try:
                lease = self.store.leases.acquire(LEASE, f"pid {os.getpid()}", LEASE_SECONDS)
                if lease is not None:
                    self._work(lease, stop)
            except LeaseLost as error:
                log.warning("%s: another desk works now", error)
            except (StoreError, psycopg.Error) as error:
                log.warning("orders wait for the database: %s", " ".join(str(error).split()))
            stop.wait(0.2)

    def _work(self, lease: Lease, stop: threading.Event) -> None:
        lost = threading.Event()
        self.working.set()
        renewing = threading.Thread(target=self._renew, args=(lease, stop, lost), name="order-lease", daemon=True)
        renewing.start()
        desk = OrderDesk(self.store.fenced(lease).trading.outbox, self.broker, self.now, opt_in=self.opt_in)
        self._compared, recovered = 0.0, False
        try:
            while not stop.is_set() and not lost.is_set():
                try:
                    recovered = self._tick(desk, recovered)
                except BrokerError as error:
                    log.warning("the broker does not answer: %s", error)
                stop.wait(self.every)
        finally:
            lost.set()
            renewing.join()
            self.store.leases.release(lease)

    def _tick(self, desk: OrderDesk, recovered: bool) -> bool:
        if not recovered:
            self._told(desk.recover())
            return True
        age = time.monotonic() - self._compared
        if age > (COMPARE_EVERY if desk.entries_allowed else COMPARE_AGAIN):
            self._told(desk.reconcile())
        if self.intake is not None:
            self.intake(self.store)
        desk.step()
        return True

    def _told(self, differences: list[str]) -> None:
        self._compared = time.monotonic()
        for difference in differences:
            log.error("comparison with %s: %s", self.broker.name, difference)
        if not differences:
            self.ready.set()

    def _renew(self, lease: Lease, stop: threading.Event, lost: threading.Event) -> None:
        while not lost.wait(_RENEW_EVERY) and not stop.is_set():
            try:
                self.store.leases.renew(lease, LEASE_SECONDS)
            except (StoreError, psycopg.Error) as error:
                log.warning("the lease of orders was not renewed: %s", " ".join(str(error).split()))
                lost.set()
