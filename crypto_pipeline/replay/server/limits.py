"""Request weight per address, counted per minute of venue time: above the limit 429, then a ban with 418."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crypto_pipeline.replay.clock import VirtualClock

MINUTE_MS = 60_000
#: Limit in exchangeInfo if there is no limit, so high that a client that obeys it is not slowed down.
UNTHROTTLED = 10_000_000
WEIGHTS = {
    **{"klines": 2, "aggTrades": 4, "exchangeInfo": 20, "time": 1, "ping": 1},
    **{"order": 1, "oco": 1, "openOrders": 6, "allOrders": 20, "orderList": 4, "myTrades": 20, "account": 20},
}


@dataclass(slots=True)
class _Account:
    """Request weight of one address.

    Attributes:
        window: Number of the running minute since 1970, by the exchange's clock.
        used: Weight of that minute.
        refused: Requests of that minute that were refused.
        banned_until: Unix milliseconds; 0 without a ban.
        ban_ms: Length of the last ban; the next one is twice as long.
    """

    window: int = 0
    used: int = 0
    refused: int = 0
    banned_until: int = 0
    ban_ms: int = 0


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a request is served (``status`` 0), or the HTTP status of its refusal."""

    used: int
    status: int = 0
    retry_after: int = 0
    banned_until: int = 0


class WeightLimits:
    """Used weight by address. With ``limit`` 0 requests are counted but never refused."""

    def __init__(self, clock: VirtualClock, limit: int, ban_after: int = 20, ban_seconds: int = 120) -> None:
        self.clock, self.limit, self.ban_after, self.ban_ms = clock, limit, ban_after, ban_seconds * 1000
        self._accounts: dict[str, _Account] = {}

    @property
    def stated(self) -> int:
        """The limit in exchangeInfo."""
        return self.limit or UNTHROTTLED

    def spend(self, address: str, weight: int) -> Admission:
        """Book ``weight``. More than ``ban_after`` refusals in one minute lead to a ban, each time a longer one."""
        now = self.clock.now_ms()
        account = self._accounts.setdefault(address, _Account())
        if account.window != now // MINUTE_MS:
            account.window, account.used, account.refused = now // MINUTE_MS, 0, 0
        account.used += weight
        if not self.limit:
            return Admission(account.used)
        if now < account.banned_until:
            return self._banned(account, now)
        if account.used <= self.limit:
            return Admission(account.used)
        account.refused += 1
        if account.refused > self.ban_after:
            account.ban_ms = min(account.ban_ms * 2 or self.ban_ms, 3 * 86_400_000)
            account.banned_until = now + account.ban_ms
            return self._banned(account, now)
        return Admission(account.used, 429, self._real_seconds(MINUTE_MS - now % MINUTE_MS))

    def _banned(self, account: _Account, now: int) -> Admission:
        return Admission(account.used, 418, self._real_seconds(account.banned_until - now), account.banned_until)

    def _real_seconds(self, venue_ms: int) -> int:
        """Real seconds of ``venue_ms``: Retry-After is in real seconds at any speed of the clock."""
        return max(1, math.ceil(venue_ms / 1000 / max(self.clock.speed, 1e-9))) if self.clock.speed else 1
