"""What the streams of all venues share: a name, an address, sockets, a plan spread over connections."""

from __future__ import annotations

from collections.abc import Sequence

from websockets.asyncio.client import ClientConnection

from crypto_pipeline.venues.client.frame_parser import Parser
from crypto_pipeline.venues.client.websocket import SocketOpener, WebSocketConnection
from crypto_pipeline.venues.stream_protocol import Event, StreamPlan, StreamTraits, spread_evenly


class VenueStream:
    """A StreamingVenue without ``connect``, which each venue adds. Use from one event loop at a time."""

    def __init__(self, url: str, *, name: str, traits: StreamTraits, timeout: float) -> None:
        self.name = name
        self.url = url.rstrip("/")
        self.stream_traits = traits
        self.opener = SocketOpener(name, timeout=timeout)

    def spread(self, plan: StreamPlan) -> list[StreamPlan]:
        """Cut a plan into one plan a connection."""
        return spread_evenly(plan, self.stream_traits.max_per_connection)

    def connection(
        self, socket: ClientConnection, parser: Parser, opening: Sequence[Event] = ()
    ) -> WebSocketConnection:
        """The connection of a subscribed socket. ``opening`` are events that come before the venue's."""
        limit = self.stream_traits.silence_limit_s
        return WebSocketConnection(self.name, socket, parser, silence_limit=limit, opening=opening)

    async def close(self) -> None:
        """Close all connections."""
        await self.opener.close()
