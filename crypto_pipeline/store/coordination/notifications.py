"""What changed since: a connection that listens, and proves again and again that it has heard everything.

PostgreSQL delivers notifications in the order of commits. So a notification that we send ourselves and hear again
proves that everything committed before we sent it has been heard: until then we know what the tables say.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress

import psycopg
from psycopg import sql

from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.connect import plain_url

log = logging.getLogger(__name__)

CHANNEL = "bars_changed"
#: Seconds between proofs, and how long nothing may be heard before a connection counts as dead.
PROOF_EVERY = 0.5
_DEAD_AFTER = 5.0

Series = tuple[str, int]


class BarNotifications:
    """Counts changes of series (timeframe, instrument number). Thread-safe. ``start`` it, and ``close`` it."""

    def __init__(self, url: str) -> None:
        self._url = plain_url(url)
        self._count = 1
        self._changed: dict[Series, int] = {}
        self._begin(closed=False)
        fork_safety.renew_in_children(self)
        #: Called with nothing after each change, from the listening thread.
        self.on_change: Callable[[], None] | None = None

    def _begin(self, *, closed: bool) -> None:
        """Nobody listens, nothing is known."""
        self._lock = threading.Lock()
        self._everything = self._count
        self._heard_all_at = float("-inf")
        self._stop = threading.Event()
        if closed:
            self._stop.set()
        self._proof = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None

    def after_fork(self) -> None:
        """In a forked child, where the listening thread is not: listen anew once it is started."""
        fork_safety.abandon(self._lock, self._proof, self._stop, self._thread)
        closed, self._count = self._stop.is_set(), self._count + 1
        self._begin(closed=closed)

    def start(self) -> None:
        """Begin to listen; harmless when it was begun."""
        if self._listens():
            return
        with self._lock:
            if not self._listens() and not self._stop.is_set():
                self._thread = threading.Thread(target=self._listen, name="changed-bars", daemon=True)
                self._thread.start()

    def _listens(self) -> bool:
        return self._thread is not None

    def count(self) -> int:
        """How many changes there were: to be remembered before something is read."""
        return self._count

    def since(self, count: int, series: Collection[Series]) -> bool:
        """Whether any of the series changed, as far as was heard, after ``count``."""
        if self._everything > count:
            return True
        if self._count == count:
            return False
        changed = self._changed
        return any(changed.get(one, 0) > count for one in series)

    def heard_everything_until(self) -> float:
        """The newest moment (``time.monotonic``) of which everything committed before has been heard."""
        return self._heard_all_at

    def await_proof(self, timeout: float) -> bool:
        """Wait until everything committed before this call has been heard. False when that took too long."""
        now = time.monotonic()
        with self._proof:
            return self._proof.wait_for(lambda: self._heard_all_at >= now, timeout)

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2 * _DEAD_AFTER)
        with self._lock:
            self._heard_all_at = float("-inf")

    # -- the thread -----------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        pause = 0.1
        while not self._stop.is_set():
            try:
                self._once()
                pause = 0.1
            except psycopg.Error as error:
                log.info("not listening for changed bars: %s", str(error).strip().splitlines()[:1])
                self._stop.wait(pause)
                pause = min(2 * pause, 2.0)

    def _once(self) -> None:
        own = f"proof_{secrets.token_hex(8)}"
        options = "-c idle_session_timeout=0 -c synchronous_commit=off"
        with psycopg.connect(
            self._url, autocommit=True, application_name="crypto_pipeline cache", connect_timeout=5, options=options,
            keepalives_idle=5, keepalives_interval=2, keepalives_count=3, tcp_user_timeout=int(_DEAD_AFTER * 1000),
        ) as connection:  # fmt: skip
            for name in (CHANNEL, own):
                connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(name)))
            # what was committed while nobody listened is not known
            self._mark("")
            sent: dict[str, float] = {}
            number = 0
            while not self._stop.is_set():
                number += 1
                sent[str(number)] = time.monotonic()
                connection.execute("SELECT pg_notify(%s, %s)", [own, str(number)])
                for note in connection.notifies(timeout=PROOF_EVERY):
                    if note.channel == own:
                        self._proved(sent.pop(note.payload))
                    else:
                        self._mark(note.payload)
                    if self._stop.is_set():
                        break

    def _proved(self, moment: float) -> None:
        with self._proof:
            self._heard_all_at = max(self._heard_all_at, moment)
            self._proof.notify_all()

    def _mark(self, payload: str) -> None:
        """Note a change; an empty payload is one of everything."""
        with self._lock:
            self._count += 1
            named = False
            with suppress(ValueError):
                for part in filter(None, payload.split(";")):
                    timeframe, _, numbers = part.partition(":")
                    for number in numbers.split(","):
                        self._changed[timeframe, int(number)] = self._count
                        named = True
            if not named:
                self._everything = self._count
        if self.on_change is not None:
            self.on_change()
