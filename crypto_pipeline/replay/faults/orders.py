"""Faults of orders: what an exchange that is asked to trade can do to its client.

``probability`` and ``count`` refer to requests, for ``user_events`` to messages of the user data stream.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crypto_pipeline.replay.faults.base import BaseFault


class OrderReject(BaseFault):
    """A new order is refused and not booked."""

    kind: Literal["order_reject"]
    code: int = Field(-2010, lt=0, description="Binance's code.")
    message: str = "Account has insufficient balance for requested action."


class OrderTimeout(BaseFault):
    """The client gets no answer to a new order, a pair or a cancellation, or one that says that nobody knows.

    Whether it was booked can only be asked. With ``late`` the request reaches the exchange so much later, where its
    ``recvWindow`` may have ended.
    """

    kind: Literal["order_timeout"]
    manner: Literal["close", "hang", "unknown"] = Field(
        "close", description="The connection is closed, or stays silent for an hour; or error -1007 is answered."
    )
    booked: bool = True
    late: float = Field(0.0, ge=0, le=60, description="Real seconds until the request reaches the exchange.")


class OrderPartial(BaseFault):
    """What would trade at once trades only in part, the rest ``seconds`` later; with ``share`` 0 the fill is late."""

    kind: Literal["order_partial"]
    share: float = Field(0.5, ge=0, lt=1)
    seconds: float = Field(1.0, ge=0, description="Venue seconds until the rest.")


class LateFills(BaseFault):
    """Fills are missing from ``myTrades`` for a time, while the order already says that it is filled."""

    kind: Literal["late_fills"]
    seconds: float = Field(1.0, gt=0, description="Venue seconds for which a fill is missing.")


class DuplicateFills(BaseFault):
    """Every row of ``myTrades`` comes twice."""

    kind: Literal["duplicate_fills"]


class OrderClockSkew(BaseFault):
    """The exchange's clock, as signed requests and ``time`` see it, is wrong by so much."""

    kind: Literal["order_clock_skew"]
    milliseconds: int = 5000


class UserEvents(BaseFault):
    """Messages of the user data stream are sent twice, late, or never."""

    kind: Literal["user_events"]
    manner: Literal["duplicate", "delay", "drop"] = "duplicate"
    seconds: float = Field(1.0, gt=0, description="Real seconds of a delay.")


OrderFault = OrderReject | OrderTimeout | OrderPartial | LateFills | DuplicateFills | OrderClockSkew | UserEvents
