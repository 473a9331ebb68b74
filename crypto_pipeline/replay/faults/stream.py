"""Faults of streams. REST returns the true market meanwhile, unless another fault changes it.

``probability`` and ``count`` refer to messages on a connection for message faults, and to connections for connection
faults. A connection fault with a probability below 1 is drawn once a second for each matching connection.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crypto_pipeline.replay.faults.base import BaseFault, RowChanges
from crypto_pipeline.replay.wire.frames import StreamKind


class LineFault(BaseFault):
    """Applies to whole connections; with ``symbol``, to those that are subscribed to one of them."""


class MessageFault(BaseFault):
    """Applies to single messages; with ``symbol`` and ``stream``, to those of these streams."""

    stream: list[StreamKind] | None = None


_TRADES: list[StreamKind] = ["aggTrade", "trade"]


class WsCut(LineFault):
    """The connection breaks: reset, closed with a close frame, or cut in the middle of a frame."""

    kind: Literal["ws_cut"]
    manner: Literal["abort", "close", "half"] = "abort"


class WsFreeze(LineFault):
    """Nothing is sent, not even pings, and the socket stays open. With ``symbol``, only these symbols are silent."""

    kind: Literal["ws_freeze"]
    seconds: float = Field(3600.0, gt=0, description="Real seconds; messages of this time are never sent.")


class WsSlowConsumer(LineFault):
    """A connection with more than ``bytes`` unread bytes is cut."""

    kind: Literal["ws_slow_consumer"]
    bytes: int = Field(65_536, ge=0)


class WsMaintenance(LineFault):
    """``serverShutdown`` is sent, the connection is closed later, and new connections are refused for a while."""

    kind: Literal["ws_maintenance"]
    closes_after: float = Field(10.0, ge=0, description="Real seconds from the announcement to the close.")
    down_seconds: float = Field(0.0, ge=0, description="Real seconds in which new connections are refused.")


class WsRefuse(BaseFault):
    """More than ``connections`` of one address at a time: the new one is refused, or the oldest evicted."""

    kind: Literal["ws_refuse"]
    connections: int = Field(1, ge=0)
    manner: Literal["refuse", "http", "evict"] = "refuse"
    retry_after: int = Field(5, ge=0, description="Retry-After of a refusal by HTTP status 429.")


class WsDuplicate(MessageFault):
    """The message is sent twice."""

    kind: Literal["ws_duplicate"]
    copies: int = Field(1, ge=1, le=100)


class WsReorder(MessageFault):
    """The message is sent after the next ``by`` messages of its stream."""

    kind: Literal["ws_reorder"]
    by: int = Field(1, ge=1, le=1000)


class WsDelay(MessageFault):
    """The message is sent late; later messages do not wait for it."""

    kind: Literal["ws_delay"]
    seconds: float = Field(1.0, gt=0, le=3600, description="Real seconds.")


class WsDrop(MessageFault):
    """The message is not sent. By default only trades, which REST still returns."""

    kind: Literal["ws_drop"]
    stream: list[StreamKind] | None = Field(_TRADES)


class WsMalformed(MessageFault):
    """The message violates the protocol: half of it, ``body`` instead of it, or a binary frame."""

    kind: Literal["ws_malformed"]
    manner: Literal["half", "body", "binary"] = "half"
    body: str = "<html><body>502 Bad Gateway</body></html>"


class WsBadRows(MessageFault, RowChanges):
    """A trade or a bar is invalid; ``values`` and the other fields as in ``bad_rows``."""

    kind: Literal["ws_bad_rows"]


class WsBadIds(MessageFault):
    """A trade with a wrong id: moved by ``shift``, the id before its own, or 0."""

    kind: Literal["ws_bad_ids"]
    stream: list[StreamKind] | None = Field(_TRADES)
    manner: Literal["shift", "repeat", "zero"] = "shift"
    shift: int = 1000


class WsClockSkew(MessageFault):
    """Event times (``E``) and trade times (``T``) are wrong."""

    kind: Literal["ws_clock_skew"]
    milliseconds: int = -1500
    fields: list[Literal["E", "T"]] = Field(["E", "T"])


StreamFault = (
    WsCut
    | WsFreeze
    | WsSlowConsumer
    | WsMaintenance
    | WsRefuse
    | WsDuplicate
    | WsReorder
    | WsDelay
    | WsDrop
    | WsMalformed
    | WsBadIds
    | WsBadRows
    | WsClockSkew
)
