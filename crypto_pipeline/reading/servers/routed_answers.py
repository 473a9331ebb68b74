"""Questions for stored rows, answered by the replica where it knows enough, else by the primary."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from crypto_pipeline.reading.bar_answers import BarAnswers, BarsAndNotes
from crypto_pipeline.reading.helper_process import HelperProcess
from crypto_pipeline.reading.query import Question
from crypto_pipeline.reading.servers.read_servers import ReadServers
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, StoreError, resolve_url
from crypto_pipeline.store.database import fork_safety
from crypto_pipeline.store.database.errors import DatabaseAwayError, QueryTooLongError

T = TypeVar("T")

#: Seconds for which a statement waits for the replica, before the primary is asked.
_PATIENCE = 2.0


class ReplicaWarning(UserWarning):
    """The primary does not answer, and the answer is that of a replica, of a moment that the warning names."""


class RoutedAnswers:
    """As BarAnswers, with a replica for stored bars. Forming and adjusted bars come from the primary.

    ``primary`` and ``replica`` are the stores of the two servers, ``here`` answers from the primary.
    """

    def __init__(self, here: BarAnswers, there: BarAnswers, primary: Store, replica: Store, most_lag: float) -> None:
        self._here, self._there, self._of_primary, self._of_replica = here, there, primary, replica
        #: Number of reads so far that the replica answered.
        self.answered_by_replica = 0
        self.servers = ReadServers(primary.connections, replica.connections, most_lag)

    def answer(self, asked: Question) -> BarsAndNotes:
        """The bars that a question asks for, and what could not be adjusted. Raises ValueError for a wrong column."""
        return self._read(asked, lambda: self._there.answer(asked), lambda: self._here.answer(asked))

    def version(self, asked: Question, of: Callable[[Store], str]) -> str:
        """The version of a question's bars, from the server that answers it; ``of`` reads it from a store."""
        return self._read(asked, lambda: of(self._of_replica), lambda: of(self._of_primary))

    def read(self, of: Callable[[Store], T], as_of: datetime | None = None) -> T:
        """What ``of`` reads from the store of the server that knows enough for now, or for ``as_of``."""
        return self._choose(as_of, lambda: of(self._of_replica), lambda: of(self._of_primary))

    def close(self) -> None:
        """Close the connections to the replica, and that by which the primary's position is noted."""
        self.servers.close()
        self._of_replica.close()

    def _read(self, asked: Question, there: Callable[[], T], here: Callable[[], T]) -> T:
        if not asked.cacheable or fork_safety.without_polars():
            return here()
        return self._choose(asked.as_of, there, here)

    def _choose(self, as_of: datetime | None, there: Callable[[], T], here: Callable[[], T]) -> T:
        if self.servers.choose(as_of) is not None:
            try:
                answer = there()
                self.answered_by_replica += 1
                return answer
            except QueryTooLongError:
                raise
            except StoreError as error:
                self.servers.failed(error)
        try:
            if not self.servers.primary_is_away:
                return here()
            raise DatabaseAwayError("the primary server does not answer")
        except DatabaseAwayError:
            found = self.servers.without_primary(as_of)
            if found is None:
                return here()  # it says why
            answer = there()
            age = time.monotonic() - found.at
            warnings.warn(
                f"the primary server does not answer: the answer is the replica's of {found.moment:%Y-%m-%d %H:%M:%S} "
                f"UTC, {age:.0f} s ago",
                ReplicaWarning,
                stacklevel=6,
            )
            return answer


def servers_of(settings: Settings, read_url: str | None, read_lag: float) -> tuple[str, str | None, float]:
    """URLs of the primary and of the replica, and how far behind that may be: as given, else as in the settings.

    Raises StoreError where the primary does not answer.
    """
    if read_url is None and settings.database_read_url is not None:
        read_url, read_lag = settings.database_read_url.get_secret_value(), settings.database_read_lag
    return resolve_url(settings), read_url, read_lag


def routed(
    here: BarAnswers, helper: HelperProcess, primary: Store, read_url: str, most_lag: float, how: dict[str, Any]
) -> RoutedAnswers:
    """Answers with the replica at ``read_url``; ``how`` are the options of the primary's store."""
    replica = Store(read_url, **{**how, "patience": min(how["patience"], _PATIENCE)})
    return RoutedAnswers(here, BarAnswers(replica, helper), primary, replica, most_lag)
