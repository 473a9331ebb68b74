"""The route of forecasts."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import orjson
from anyio.to_thread import run_sync
from fastapi import FastAPI, Path, Query
from starlette.responses import Response

from crypto_pipeline.api import problems
from crypto_pipeline.api.forecast_models import ForecastBody, ForecastQuery
from crypto_pipeline.forecasts.stored.cache import ForecastCache

_PROBLEM = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "content": _PROBLEM}
    for status, words in {
        401: "The token is missing or wrong", 404: "Unknown instrument, or it has no forecast yet",
        422: "A parameter is wrong", 429: "Too many requests",
        503: "The database is away, or the newest forecast is too old",
    }.items()
}  # fmt: skip


def add_forecast_routes(app: FastAPI, forecasts: ForecastCache) -> None:
    """Add ``/forecasts/{symbol}``, answered from the cache that a loop keeps fresh."""

    @app.get("/forecasts/{symbol}", response_model=ForecastBody, responses=_RESPONSES, summary="Forecast of a price")
    async def forecast(
        symbol: Annotated[str, Path(max_length=64, description="Canonical name.", examples=["BTC-USDT"])],
        query: Annotated[ForecastQuery, Query()],
    ) -> Any:
        found = await run_sync(partial(forecasts.get, symbol, query.horizon))
        body = orjson.dumps(found.document(), option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-cache"})
