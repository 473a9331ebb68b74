"""Routes of the cache: what is stored, and requests that bring it up to date by a run of Dagster.

The cache of this deployment is its database of bars. Requests that start runs need a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Body, FastAPI, Header, Path, Request
from starlette.exceptions import HTTPException

from crypto_pipeline.api.operations import models
from crypto_pipeline.api.operations.figures import DeploymentFigures
from crypto_pipeline.api.operations.health import instigators, json_response, responses
from crypto_pipeline.api.operations.orders import backfill_symbol, instrument, market_of, refresh_live, sync_historical
from crypto_pipeline.api.operations.run_requests import RunOrder, RunRequests
from crypto_pipeline.store.database.errors import StoreError

#: Requests at work at once: of those that read, and of those that start runs.
_READS, _STARTS = 2, 2
_NEWEST = 20
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", max_length=128, min_length=1, pattern=r"^[\x21-\x7e]+$",
        description="Of your choice: the same key has the same run, also when that is over.",
    ),
]  # fmt: skip
Symbol = Annotated[str, Path(max_length=64, description="Canonical name.", examples=["BTC-USDT"])]


def add_cache_routes(app: FastAPI, figures: DeploymentFigures, reader_cache: Callable[[], Mapping[str, float]]) -> None:
    """Add the routes below ``/cache``."""
    requests = RunRequests(figures.requests, figures.dagster, figures.settings)
    _add_reads(app, figures, requests, reader_cache)
    _add_requests(app, figures, requests)


def _add_reads(
    app: FastAPI, figures: DeploymentFigures, requests: RunRequests, reader_cache: Callable[[], Mapping[str, float]]
) -> None:
    limiter = CapacityLimiter(_READS)

    @app.get("/cache/status", response_model=models.CacheStatus, summary="What is stored and how fresh it is",
             responses=responses(401, 429, 503))  # fmt: skip
    async def status() -> Any:
        return json_response(await run_sync(_stored, figures, requests, reader_cache(), limiter=limiter))

    @app.get("/cache/historical/{symbol}", response_model=models.HistoricalStatus,
             summary="What is stored of one instrument", responses=responses(401, 404, 429, 503))  # fmt: skip
    async def historical(symbol: Symbol) -> Any:
        return json_response(await run_sync(_historical, figures, symbol, limiter=limiter))

    @app.get("/cache/scheduler/status", response_model=models.SchedulerStatus,
             summary="The scheduler and its last successes", responses=responses(401, 429, 503))  # fmt: skip
    async def scheduler() -> Any:
        return json_response(await run_sync(_scheduler, figures, limiter=limiter))


def _stored(figures: DeploymentFigures, requests: RunRequests, reader_cache: Mapping[str, float]) -> dict[str, Any]:
    found, troubles = figures.parts({"bars": "stored_bars", "freshness": "newest_bars"})
    newest = None
    try:
        newest = requests.recent(_NEWEST)
    except StoreError as error:
        troubles["requests"] = str(error)
    return {**found, "read_cache": dict(reader_cache), "requests": newest, "troubles": troubles}


def _historical(figures: DeploymentFigures, symbol: str) -> dict[str, Any]:
    row = instrument(figures, symbol)
    shown = {name: row[name] for name in ("symbol", "venue", "active")}
    return {**shown, "market": market_of(row), "series": figures.scrape.series(row["id"])}


def _scheduler(figures: DeploymentFigures) -> dict[str, Any]:
    found, troubles = figures.parts({"daemons": "daemons", "runs": "queue"})
    return {**found, **instigators(figures, troubles), "troubles": troubles}


def _add_requests(app: FastAPI, figures: DeploymentFigures, requests: RunRequests) -> None:
    limiter = CapacityLimiter(_STARTS)
    answers = responses(401, 403, 404, 422, 429, 503)

    async def start(request: Request, order: Callable[[], RunOrder], key: str | None) -> Any:
        if figures.settings.api_token is None or not request.state.trusted:
            raise HTTPException(403, "starting runs needs a token: set CRYPTO_PIPELINE_API_TOKEN and send it")

        def work() -> dict[str, Any]:
            return requests.start(order(), key)

        return json_response(await run_sync(work, limiter=limiter), 202)

    @app.post("/cache/refresh-live", response_model=models.CacheRun, status_code=202, responses=answers,
              summary="Fetch the newest bars now")  # fmt: skip
    async def refresh(request: Request, body: models.RefreshLive | None = None, key: Key = None) -> Any:
        market = None if body is None else body.market
        return await start(request, lambda: refresh_live(figures, market), key)

    @app.post("/cache/sync-historical", response_model=models.CacheRun, status_code=202, responses=answers,
              summary="Heal what lags behind in history")  # fmt: skip
    async def sync(request: Request, body: models.SyncHistorical | None = None, key: Key = None) -> Any:
        venue = None if body is None else body.venue
        return await start(request, lambda: sync_historical(figures, venue), key)

    @app.post("/cache/backfill-symbol", response_model=models.CacheRun, status_code=202, responses=answers,
              summary="Bring the history of one instrument up to date")  # fmt: skip
    async def backfill(request: Request, body: Annotated[models.BackfillSymbol, Body()], key: Key = None) -> Any:
        return await start(request, lambda: backfill_symbol(figures, body.symbol, body.market), key)
