"""The routes of the stream: the websocket, and tickets for pages."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, WebSocket
from pydantic import BaseModel, Field

from crypto_pipeline.api.operations.health import json_response, responses
from crypto_pipeline.api.problems import problem
from crypto_pipeline.api.stream.asyncapi import asyncapi_document
from crypto_pipeline.api.stream.hub import ChannelHub
from crypto_pipeline.api.stream.session import StreamSession
from crypto_pipeline.api.stream.sources.alerts import AlertChannels
from crypto_pipeline.api.stream.sources.bars import BarChannels
from crypto_pipeline.api.stream.sources.forecasts import ForecastChannels
from crypto_pipeline.api.stream.sources.prices import PriceChannels
from crypto_pipeline.api.stream.sources.trading import TradingChannels
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
    store = reader.store
    hub = ChannelHub(
        reader,
        [
            PriceChannels(store),
            BarChannels(reader),
            ForecastChannels(store),
            TradingChannels(store),
            AlertChannels(store),
        ],
    )

    @app.post("/stream/ticket", response_model=Ticket, summary="A one-time ticket for the stream",
              responses=responses(401, 429, 503))  # fmt: skip
    async def ticket() -> Any:
        return Ticket(ticket=tickets.issue(), expires_in=LIFETIME)

    @app.get("/asyncapi.json", response_model=dict[str, Any], summary="The stream as an AsyncAPI document")
    async def described() -> Any:
        return json_response(asyncapi_document())

    @app.websocket("/stream")
    async def stream(websocket: WebSocket) -> None:
        if hub.sessions >= _MOST_STREAMS:
            detail = f"{_MOST_STREAMS} connections are open: come again later"
            await websocket.send_denial_response(problem(503, detail, {"Retry-After": "5"}))
            return
        await StreamSession(websocket, hub).run()

    return hub
