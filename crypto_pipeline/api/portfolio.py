"""Routes of trading: the account, open positions, closed trades, decisions about signals. They change nothing."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI, Query
from starlette.responses import Response

from crypto_pipeline.api import portfolio_models as models
from crypto_pipeline.api.operations.health import responses
from crypto_pipeline.reading import Reader
from crypto_pipeline.reading.arguments import optional
from crypto_pipeline.settings import Settings
from crypto_pipeline.trading.portfolio.shown import money_text

if TYPE_CHECKING:
    from crypto_pipeline.trading.stored.accounts.portfolio import PortfolioReader

#: Requests at work at once.
_AT_WORK = 2


def add_portfolio_routes(app: FastAPI, reader: Reader, settings: Settings) -> None:
    """Add ``GET /portfolio``, ``/positions``, ``/trades`` and ``/signals``."""
    limiter = CapacityLimiter(_AT_WORK)

    @cache
    def kept() -> PortfolioReader:
        from crypto_pipeline.trading.stored.accounts.portfolio import (
            PortfolioReader,
        )  # late: the first request needs it

        return PortfolioReader(reader.store, settings)

    refused = responses(401, 404, 422, 429, 503)

    @app.get("/portfolio", response_model=models.PortfolioAnswer, responses=refused,
             summary="The account and what its trades have come to")  # fmt: skip
    async def portfolio(query: Annotated[models.PortfolioQuery, Query()]) -> Any:
        return _json(await run_sync(lambda: kept().portfolio(query.points), limiter=limiter))

    @app.get("/positions", response_model=models.PositionsAnswer, responses=refused, summary="Open positions")
    async def positions(query: Annotated[models.PositionsQuery, Query()]) -> Any:
        return _json(await run_sync(lambda: kept().positions(_strategy(query), query.instrument), limiter=limiter))

    @app.get("/trades", response_model=models.ClosedTradesAnswer, responses=refused, summary="Closed trades")
    async def trades(query: Annotated[models.TradesQuery, Query()]) -> Any:
        asked = _asked(query)
        return _json(await run_sync(lambda: {"trades": kept().trades(**asked)}, limiter=limiter))

    @app.get("/signals", response_model=models.SignalsAnswer, responses=refused, summary="Signals and decisions")
    async def signals(query: Annotated[models.SignalsQuery, Query()]) -> Any:
        taken = None if query.decision is None else query.decision == "accepted"
        asked = _asked(query)
        return _json(await run_sync(lambda: {"signals": kept().signals(**asked, taken=taken)}, limiter=limiter))


def _strategy(query: models.PositionsQuery) -> str | None:
    return None if query.strategy is None else str(query.strategy)


def _asked(query: models.TradesQuery) -> dict[str, Any]:
    return {
        "strategy": _strategy(query), "instrument": query.instrument, "start": optional(query.start, "start", up=True),
        "end": optional(query.end, "end", up=True), "limit": query.limit, "offset": query.offset,
    }  # fmt: skip


def _json(body: object) -> Response:
    """A JSON response; times are UTC, sums of money texts with all digits."""
    return Response(orjson.dumps(body, default=_text), media_type="application/json")


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        return money_text(value)
    raise TypeError(f"no JSON for {type(value).__name__}")
