"""One-time tickets: what a page shows instead of the token, which must not stand in an address."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict

#: Seconds for which a ticket opens one connection, and tickets that are known at once.
LIFETIME, _MOST = 30.0, 1_000


class Tickets:
    """Tickets of this process. A ticket is used once, and soon."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def issue(self) -> str:
        """A new ticket. When there are too many, the oldest is forgotten."""
        ticket = secrets.token_urlsafe(24)
        self._until[ticket] = time.monotonic() + LIFETIME
        if len(self._until) > _MOST:
            self._until.popitem(last=False)
        return ticket

    def use(self, ticket: str) -> bool:
        """Whether the ticket opens a connection: it was issued here, is not too old, and was not used before."""
        until = self._until.pop(ticket, None)
        return until is not None and time.monotonic() <= until
