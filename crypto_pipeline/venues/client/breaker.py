"""Circuit breaker for coroutines, on purgatory (pybreaker does not support them)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

from crypto_pipeline.venues.protocol import MalformedAnswer, TruncatedBody, VenueError, VenueUnavailable


class Breaker:
    """Opens after ``threshold`` failed calls in a row; then calls fail at once, until ``recovery`` seconds have passed.

    A call that fails permanently (unknown symbol) or whose answer is unreadable proves that the venue answers, so it
    counts as a success: a page of one instrument must not stop requests for the others. A cancelled call counts neither
    way: counted as a success, it would reset the count each time a failure cancels concurrent calls, and the breaker
    would never open.
    """

    def __init__(self, name: str, *, threshold: int = 5, recovery: float = 30.0) -> None:
        self.name = name
        self.recovery = recovery
        self._factory = AsyncCircuitBreakerFactory(default_threshold=threshold, default_ttl=recovery)

    async def is_open(self) -> bool:
        """Whether calls fail at once now. False once the recovery time has passed and a call may try."""
        return bool((await self._factory.get_breaker(self.name)).context.state == "opened")

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Guard one call. Raises VenueUnavailable without running it while open."""
        circuit = await self._factory.get_breaker(self.name)
        try:
            await circuit.__aenter__()
        except OpenedState as opened:
            opened.__traceback__ = None  # purgatory always raises the same object; its traceback would grow
            raise VenueUnavailable(
                f"{self.name} failed repeatedly; no request for up to {self.recovery:g} s",
                retry_after=self.recovery,
            ) from None
        try:
            yield
        except VenueError as error:
            if error.permanent or (isinstance(error, MalformedAnswer) and not isinstance(error, TruncatedBody)):
                await circuit.__aexit__(None, None, None)
            else:
                await circuit.__aexit__(type(error), error, error.__traceback__)
            raise
        else:
            await circuit.__aexit__(None, None, None)
