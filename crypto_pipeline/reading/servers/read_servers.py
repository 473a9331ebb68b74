"""A primary and its streaming replica: what the replica is known to contain, measured by this process alone.

Now and then the position of the primary in its log is noted, with this process's time. A replica that has replayed up
to a noted position contains all that was committed before that moment. So an age never depends on the clocks of other
machines, and is never less than the true one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from crypto_pipeline.store import StoreError
from crypto_pipeline.store.coordination.replay_position import primary_position, replayed_position
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import UnknownNameError
from crypto_pipeline.store.database.pool import Connections

log = logging.getLogger(__name__)

#: Seconds between two notes of the primary's position; how many are kept; seconds for which a server that failed is
#: not asked again.
EVERY, _KEPT, _AWAY = 0.25, 2400, 2.0
_PATIENCE = 1.0
#: After a pause without reads the replica may need a moment for the newest note: pause and number of looks.
_PAUSE, _LOOKS = 0.01, 5


@dataclass(frozen=True, slots=True)
class ServerMoment:
    """A moment up to which a server contains everything that was committed.

    Attributes:
        at: The moment, by ``time.monotonic`` of this process.
        moment: The same by the primary's clock (UTC), as ``as_of`` and ``recorded_at`` have it.
        mark: The number of changes that this process had heard of before.
        position: Position in the log, bytes.
    """

    at: float
    moment: datetime
    mark: int
    position: int


class ReadRecord:
    """The server that a group of reads uses, so that none of them sees an earlier state than the one before."""

    def __init__(self) -> None:
        self.chosen = False
        #: None: the primary
        self.replica: ServerMoment | None = None
        #: Whether the replica answered because the primary did not, perhaps after the primary answered an earlier read.
        self.without_primary = False

    def known_since(self, seen: int, begun: float) -> tuple[int, float]:
        """Number of changes and moment that the reads contain: those of their begin, or earlier ones of a replica."""
        if self.replica is None:
            return seen, begun
        return min(seen, self.replica.mark), min(begun, self.replica.at)


_RECORD: ContextVar[ReadRecord | None] = ContextVar("read_record", default=None)


@contextmanager
def one_server() -> Iterator[ReadRecord]:
    """Reads of this block, in this thread, use one server; the record says what it contained."""
    record = ReadRecord()
    token = _RECORD.set(record)
    try:
        yield record
    finally:
        _RECORD.reset(token)


class ReadServers:
    """Says whether the replica may answer. Thread-safe.

    ``most_lag``: a replica that is further behind, in seconds, is left out while the primary answers.
    """

    def __init__(self, primary: Connections, replica: Connections, most_lag: float) -> None:
        # a connection of its own: what is noted must not wait for reads, nor long for a server that is away
        self._primary = Connections(primary.url, 1, patience=_PATIENCE, statement_timeout=_PATIENCE)
        self._replica, self.most_lag = replica, most_lag
        #: The number of changes that this process has heard of.
        self.count_changes: Callable[[], int] = lambda: 0
        self.after_fork()
        fork_safety.renew_in_children(self)

    def after_fork(self) -> None:
        """Begin without notes; in a forked child too."""
        self._lock = threading.Lock()
        self._notes: deque[ServerMoment] = deque(maxlen=_KEPT)
        self._away_until = {"primary": 0.0, "replica": 0.0}
        self._behind = False
        #: What reads of now need at least: the position after what a caller has written.
        self._least = 0

    def close(self) -> None:
        """Close the connection to the primary."""
        self._primary.close()

    def choose(self, as_of: datetime | None = None) -> ServerMoment | None:
        """What the replica contains, where it is enough for a read of now, or ``as_of``; None: ask the primary.

        Within ``one_server`` the first choice holds.
        """
        record = _RECORD.get()
        if record is None:
            return self._choose(as_of)
        if not record.chosen:
            record.chosen, record.replica = True, self._choose(as_of)
        return record.replica

    def without_primary(self, as_of: datetime | None = None) -> ServerMoment | None:
        """What the replica contains, however old; None where that is unknown, or does not reach ``as_of``."""
        found = self._replayed(trust_clocks=True)
        if found is None or (as_of is not None and found.moment < as_of):
            return None
        if (record := _RECORD.get()) is not None:
            record.chosen, record.replica, record.without_primary = True, found, True
        return found

    def contain_now(self) -> bool:
        """From now on the replica answers only once it contains what is committed by now. False: that is not known."""
        try:
            noted = self._noted()
        except StoreError as error:
            log.warning("%s", error)
            return False
        self._least = max(self._least, noted.position)
        return True

    @property
    def primary_is_away(self) -> bool:
        """Whether the primary did not answer a moment ago."""
        return time.monotonic() < self._away_until["primary"]

    def failed(self, error: StoreError) -> None:
        """The replica could not answer a read, which the primary answers now.

        One that answers, and does not know an instrument yet, is asked again at once.
        """
        if not isinstance(error, UnknownNameError):
            log.warning("the replica does not answer, the primary is asked: %s", error)
            self._away_until["replica"] = time.monotonic() + _AWAY
        if (record := _RECORD.get()) is not None:
            record.chosen, record.replica = True, None

    def _choose(self, as_of: datetime | None) -> ServerMoment | None:
        idle = self._note()
        for _ in range(_LOOKS if idle else 1):
            found = self._replayed()
            if found is not None and self._enough(found, as_of):
                return found
            if idle:
                time.sleep(_PAUSE)
        return None

    def _enough(self, found: ServerMoment, as_of: datetime | None) -> bool:
        if as_of is not None:
            return as_of <= found.moment
        if found.position < self._least:
            return False
        lag = time.monotonic() - found.at
        behind = lag > self.most_lag
        if behind != self._behind:
            self._behind = behind
            how = f"is {lag:.0f} s behind: reads go to the primary" if behind else "has caught up: reads go to it again"
            log.warning("the replica %s", how)
        return not behind

    def _note(self) -> bool:
        """Note the primary's position if that is due; True where the note before is too old to be of use."""
        now = time.monotonic()
        before = self._notes[-1].at if self._notes else float("-inf")
        if now - before < EVERY or now < self._away_until["primary"] or not self._lock.acquire(blocking=False):
            return False
        try:
            at = self._noted().at
        except StoreError as error:
            log.warning("%s", error)
            self._away_until["primary"] = time.monotonic() + _AWAY
            return False
        finally:
            self._lock.release()
        return at - before > self.most_lag

    def _noted(self) -> ServerMoment:
        at, mark = time.monotonic(), self.count_changes()
        position, moment = primary_position(self._primary)
        self._notes.append(found := ServerMoment(at, moment, mark, position))
        return found

    def _replayed(self, *, trust_clocks: bool = False) -> ServerMoment | None:
        """The newest note that the replica has replayed; with ``trust_clocks``, without one, its newest commit."""
        away = self._away_until["replica"]
        if time.monotonic() < away:
            return None
        if away:  # one thread tries it again, the others do not wait for that
            self._away_until["replica"] = time.monotonic() + _AWAY
        try:
            replayed = replayed_position(self._replica)
            self._away_until["replica"] = 0.0
        except StoreError as error:
            log.warning("the replica does not answer: %s", error)
            self._away_until["replica"] = time.monotonic() + _AWAY
            return None
        found = next((note for note in reversed(self._notes.copy()) if note.position <= replayed.position), None)
        if found is None and trust_clocks and replayed.committed is not None and replayed.age is not None:
            return ServerMoment(time.monotonic() - replayed.age, replayed.committed, 0, replayed.position)
        return found
