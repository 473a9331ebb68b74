"""Notifications of changes: a listening connection that proves regularly that it has received all of them.

PostgreSQL delivers notifications in the order of commits. So when we receive a notification that we sent ourselves, we
have received those of all transactions committed before it was sent.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.connect import plain_url
from crypto_pipeline.store.database.sessions.pooler import direct_url

log = logging.getLogger(__name__)

CHANNEL = "bars_changed"
#: Seconds between proofs, and seconds without any notification after which a connection counts as broken.
PROOF_EVERY = 0.5
_DEAD_AFTER = 5.0

Series = tuple[str, int]


class BarNotifications:
    """Counts changes of series (timeframe, instrument number), and passes on notifications of other channels.

    One connection listens for a process. Thread-safe. Call ``start`` first and ``close`` last.
    """

    def __init__(self, url: str) -> None:
        self._url = plain_url(direct_url(url))
        self._count = 1
        self._changed: dict[Series, int] = {}
        self._begin(closed=False)
        fork_safety.renew_in_children(self)

    def pass_on(self, channel: str, told: Callable[[str | None], None]) -> None:
        """From now on call ``told`` with the payload of each notification of ``channel``, in the listening thread.

        ``told`` gets None whenever notifications may have been missed: at the begin, and after each broken connection.
        It must return quickly. A forked child passes nothing on.
        """
        with self._lock:
            self._told.setdefault(channel, []).append(told)

    def _begin(self, *, closed: bool) -> None:
        """Reset: no thread listens, and no proof exists."""
        self._lock = threading.Lock()
        self._everything = self._count
        self._told: dict[str, list[Callable[[str | None], None]]] = {}
        self._heard_all_at = float("-inf")
        self._stop = threading.Event()
        if closed:
            self._stop.set()
        self._proof = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None

    def after_fork(self) -> None:
        """Reset in a forked child, which has no listening thread; ``start`` makes a new one."""
        fork_safety.abandon(self._lock, self._proof, self._stop, self._thread)
        closed, self._count = self._stop.is_set(), self._count + 1
        self._begin(closed=closed)

    def start(self) -> None:
        """Start the listening thread; no effect if it runs."""
        if self._listens():
            return
        with self._lock:
            if not self._listens() and not self._stop.is_set():
                self._thread = threading.Thread(target=self._listen, name="changed-bars", daemon=True)
                self._thread.start()

    def _listens(self) -> bool:
        return self._thread is not None

    def count(self) -> int:
        """Number of changes so far. Callers remember it before they read, and pass it to ``since``."""
        return self._count

    def since(self, count: int, series: Collection[Series]) -> bool:
        """Whether a received notification after ``count`` is about one of the series."""
        if self._everything > count:
            return True
        if self._count == count:
            return False
        changed = self._changed
        return any(changed.get(one, 0) > count for one in series)

    def heard_everything_until(self) -> float:
        """The newest moment (``time.monotonic``) before which all committed changes have been received."""
        return self._heard_all_at

    def await_proof(self, timeout: float) -> bool:
        """Wait until all changes committed before this call have been received. False after ``timeout`` seconds."""
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
            begun = time.monotonic()
            try:
                self._once()
            except psycopg.Error as error:
                if time.monotonic() - begun > 2 * _DEAD_AFTER:  # it listened for a while
                    pause = 0.1
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
                _listen_to(connection, name)
            # changes committed while no connection listened are unknown
            self._mark("")
            begun: dict[str, int] = {}
            sent: dict[str, float] = {}
            number = 0
            while not self._stop.is_set():
                self._begin_channels(connection, begun)
                number += 1
                sent[str(number)] = time.monotonic()
                connection.execute("SELECT pg_notify(%s, %s)", [own, str(number)])
                for note in connection.notifies(timeout=PROOF_EVERY):
                    if note.channel == own:
                        self._proved(sent.pop(note.payload))
                    else:
                        if note.channel == CHANNEL:
                            self._mark(note.payload)
                        for told in self._told.get(note.channel, ())[: begun.get(note.channel, 0)]:
                            told(note.payload)
                    if self._stop.is_set():
                        break

    def _begin_channels(self, connection: psycopg.Connection[Any], begun: dict[str, int]) -> None:
        """Listen to channels that were asked for since the last time; ``begun``: how many are told of each."""
        with self._lock:
            wanted = {channel: tuple(told) for channel, told in self._told.items()}
        for channel, all_told in wanted.items():
            known = begun.get(channel, 0)
            if len(all_told) > known:
                _listen_to(connection, channel)
                begun[channel] = len(all_told)
                for told in all_told[known:]:
                    told(None)

    def _proved(self, moment: float) -> None:
        with self._proof:
            self._heard_all_at = max(self._heard_all_at, moment)
            self._proof.notify_all()

    def _mark(self, payload: str) -> None:
        """Count a change; an empty payload means a change of all series."""
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


def _listen_to(connection: psycopg.Connection[Any], channel: str) -> None:
    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
