"""What every part of a reader stands on: the store, and the choice of the server that a read of stored rows goes to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from crypto_pipeline.reading.helper_process import HelperProcess
from crypto_pipeline.reading.servers.routed_answers import RoutedAnswers
from crypto_pipeline.store import Store

T = TypeVar("T")


class StoredReads:
    """The part of a reader that chooses between the primary server and a streaming replica."""

    store: Store
    helper: HelperProcess
    _routed: RoutedAnswers | None

    def from_server(self, read: Callable[[Store], T], as_of: datetime | None = None) -> T:
        """What ``read`` says of the store of a server that knows enough: the replica's where it follows, else the
        primary's. ``as_of``: rows of that moment are asked for. Raises as ``read`` does.
        """
        return self._routed.read(read, as_of) if self._routed else read(self.store)
