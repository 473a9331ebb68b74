"""The routes of the stream: the websocket, and tickets for pages."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, WebSocket
from pydantic import BaseModel, Field

from crypto_pipeline.api.operations.health import responses
from crypto_pipeline.api.stream.bars import BarChannels
from crypto_pipeline.api.stream.hub import ChannelHub
from crypto_pipeline.api.stream.prices import PriceChannels
from crypto_pipeline.api.stream.session import StreamSession
from crypto_pipeline.api.stream.tickets import LIFETIME, Tickets
from crypto_pipeline.reading import Reader

#: Connections at once.
_MOST_STREAMS = 500


class Ticket(BaseModel):
    """Opens one websocket, soon, as ``/stream?ticket=…``."""

    ticket: str = Field(description="Used once.")
    expires_in: float = Field(description="Seconds.")


def add_stream_routes(app: FastAPI, reader: Reader, tickets: Tickets) -> ChannelHub:
    """Add ``/stream`` and ``POST /stream/ticket``; the hub, which the caller closes."""
    hub = ChannelHub(reader, [PriceChannels(reader.store), BarChannels(reader)])

    @app.post("/stream/ticket", response_model=Ticket, summary="A one-time ticket for the stream",
              responses=responses(401, 429, 503))  # fmt: skip
    async def ticket() -> Any:
        return Ticket(ticket=tickets.issue(), expires_in=LIFETIME)

    @app.websocket("/stream")
    async def stream(websocket: WebSocket) -> None:
        await StreamSession(websocket, hub).run()

    return hub
