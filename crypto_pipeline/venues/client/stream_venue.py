"""Base of the streams of all venues: name, address, sockets, and plans spread over connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from websockets.asyncio.client import ClientConnection

from crypto_pipeline.venues.client.frame_parser import Parser
from crypto_pipeline.venues.client.websocket import SocketOpener, WebSocketConnection
from crypto_pipeline.venues.stream_protocol import Event, StreamPlan, StreamTraits, spread_evenly


class VenueStream:
    """A StreamingVenue without ``connect``, which each venue adds. Use it in one event loop at a time.

    ``url``, ``name``, ``symbols_per_connection`` and ``silence_limit`` (seconds) default to the venue's own values.
    ``timeout`` is in seconds.
    """

    default_url: ClassVar[str]
    default_name: ClassVar[str]
    default_silence_limit: ClassVar[float]
    default_symbols_per_connection: ClassVar[int] = 200
    states_bars: ClassVar[bool] = True
    contiguous_ids: ClassVar[bool] = True
    single_connection: ClassVar[bool] = False
    connection_class: ClassVar[type[WebSocketConnection]] = WebSocketConnection

    def __init__(
        self,
        url: str | None = None,
        *,
        name: str | None = None,
        symbols_per_connection: int | None = None,
        silence_limit: float | None = None,
        timeout: float = 15.0,
    ) -> None:
        self.name = self.default_name if name is None else name
        self.url = (self.default_url if url is None else url).rstrip("/")
        self.stream_traits = StreamTraits(
            contiguous_ids=self.contiguous_ids,
            states_bars=self.states_bars,
            silence_limit_s=self.default_silence_limit if silence_limit is None else silence_limit,
            max_per_connection=(
                self.default_symbols_per_connection if symbols_per_connection is None else symbols_per_connection
            ),
            single_connection=self.single_connection,
        )
        self.opener = SocketOpener(self.name, timeout=timeout)

    def spread(self, plan: StreamPlan) -> list[StreamPlan]:
        """Cut a plan into one plan per connection."""
        return spread_evenly(plan, self.stream_traits.max_per_connection)

    def connection(
        self, socket: ClientConnection, parser: Parser, opening: Sequence[Event] = ()
    ) -> WebSocketConnection:
        """The connection of a subscribed socket. ``opening`` are events that precede the venue's."""
        limit = self.stream_traits.silence_limit_s
        return self.connection_class(self.name, socket, parser, silence_limit=limit, opening=opening)

    async def close(self) -> None:
        """Close all connections."""
        await self.opener.close()
