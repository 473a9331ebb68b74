"""The application: addresses and what stands behind each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI, Path, Query, Request
from starlette.responses import Response

from crypto_pipeline.api import models, problems
from crypto_pipeline.api.forecasts import add_forecast_routes
from crypto_pipeline.api.formats import ARROW, CSV, PARQUET
from crypto_pipeline.api.limits import OPEN, RequestLimits
from crypto_pipeline.api.operations.cache import add_cache_routes
from crypto_pipeline.api.operations.figures import DeploymentFigures
from crypto_pipeline.api.operations.health import add_health_routes
from crypto_pipeline.api.page.files import PageFiles, add_page_files
from crypto_pipeline.api.page.overview import add_overview_routes
from crypto_pipeline.api.page.watchlist import add_watchlist_route
from crypto_pipeline.api.portfolio import add_portfolio_routes
from crypto_pipeline.api.predictions import add_prediction_routes
from crypto_pipeline.api.responses import CachedResponses, Responses
from crypto_pipeline.api.stream.routes import add_stream_routes
from crypto_pipeline.api.stream.tickets import Tickets
from crypto_pipeline.forecasts.stored.cache import ForecastCache
from crypto_pipeline.reading import Reader
from crypto_pipeline.reading.query import ALL, question

Symbol = Annotated[str, Path(max_length=64, description="Canonical name.", examples=["BTC-USDT"])]
Series = Annotated[str, Path(max_length=64, description="Name, or id of FRED.", examples=["CPI"])]
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_TABLES = {CSV: {"schema": {"type": "string"}}, ARROW: _BINARY, PARQUET: _BINARY}
_HEADERS = {
    "ETag": {"description": "BarNotifications with the data.", "schema": {"type": "string"}},
    "X-As-Of": {"description": "The table said this then, or later.", "schema": {"type": "string"}},
    "X-Note": {
        "description": "Corporate actions that could not be applied.",
        "schema": {"type": "string"},
    },
    "Age": {"description": "Seconds since then.", "schema": {"type": "integer"}},
}
_PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}


def _responses(*more: int) -> dict[int | str, dict[str, Any]]:
    """What besides the model of 200 may come."""
    words = {
        304: "Nothing changed", 401: "The token is missing or wrong", 404: "Unknown instrument or series",
        406: "No such format", 422: "A parameter is wrong", 429: "Too many requests",
        503: "The database is away, or busy",
    }  # fmt: skip
    found: dict[int | str, dict[str, Any]] = {
        200: {"description": "The rows", "content": dict(_TABLES), "headers": _HEADERS}
    }
    for status in (304, 401, 406, 422, 429, 503, *more):
        found[status] = {"description": words[status]}
        if status != 304:
            found[status]["content"] = {problems.MEDIA_TYPE: _PROBLEM}
    return found


def create_app(
    reader: Reader,
    *,
    figures: DeploymentFigures | None = None,
    forecasts: ForecastCache | None = None,
    token: str | None = None,
    rate: float = 0.0,
) -> FastAPI:
    """An application that answers from ``reader``, which it closes when it ends.

    ``figures``: what health, metrics and the cache routes show, closed too; without them these routes, and those of
    predictions, of the portfolio and of the live page's overview, do not exist. ``forecasts``: what a loop keeps
    fresh; without it every forecast is read when it is asked for.
    ``token``: only for clients that send it as bearer token. ``rate``: requests a second of one client, 0 for any.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await hub.close()
        await run_sync(responses.alive.close)
        if figures is not None:
            await run_sync(figures.close)
        await run_sync(reader.close)

    app = FastAPI(
        title="crypto_pipeline", version="1", lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Bars that are complete, correct and explained. Times are UTC, spans half-open.",
    )  # fmt: skip
    problems.install(app)
    responses = Responses(reader)
    _add_routes(app, responses)
    add_watchlist_route(app, responses)
    add_page_files(app, PageFiles())
    add_forecast_routes(app, forecasts or ForecastCache(reader.store))
    if figures is not None:
        add_health_routes(app, figures, responses.cached.stats.as_dict)
        add_cache_routes(app, figures, responses.cached.stats.as_dict)
        add_prediction_routes(app, reader, figures.settings)
        add_portfolio_routes(app, reader, figures.settings)
        add_overview_routes(app, reader, figures)
    tickets = Tickets()
    hub = add_stream_routes(app, reader, tickets)
    _describe(app, token)
    app.add_middleware(CachedResponses, responses=responses)
    app.add_middleware(RequestLimits, token=token, rate=rate, ticket=tickets.use)
    return app


def _add_routes(app: FastAPI, responses: Responses) -> None:
    _add_bar_routes(app, responses)
    _add_revision_route(app, responses)
    _add_row_routes(app, responses)
    _add_health_route(app, responses)


def _add_bar_routes(app: FastAPI, responses: Responses) -> None:
    """Bars of one instrument, and the newest of many."""
    reader = responses.reader

    @app.get("/bars/{symbol}", response_model=models.Bars, responses=_responses(404), summary="Bars of an instrument")
    async def bars(request: Request, symbol: Symbol, query: Annotated[models.BarsQuery, Query()]) -> Any:
        # a span that is left out ends at the market's now, for which the database may have to be asked
        open_span = query.start is None and query.end is None and query.last is None
        moment = await responses.now() if open_span else None
        asked = question(
            symbol, query.timeframe, query.start, query.end, now=reader.now if moment is None else lambda: moment,
            last=query.last, as_of=query.as_of, final_only=query.final_only, columns=_columns(query.columns),
            fill=query.fill, adjust=query.adjust, sessions=query.sessions,
        )  # fmt: skip
        return await responses.bars(request, asked, query.limit)

    @app.get("/latest", response_model=models.Latest, responses=_responses(404), summary="Newest bars")
    async def latest(request: Request, query: Annotated[models.LatestQuery, Query()]) -> Any:
        names = _names(query.instruments) or await run_sync(reader.symbols)
        if not names:
            return await responses.rows(request, lambda: reader.latest([]))
        columns = _columns(query.columns)
        asked = question(names, query.timeframe, last=1, final_only=query.final_only, columns=columns)
        return await responses.latest(request, asked)


def _add_revision_route(app: FastAPI, responses: Responses) -> None:
    """Copies of bars that were the truth for a while."""
    reader = responses.reader

    @app.get("/revisions/{symbol}", response_model=models.Rows, responses=_responses(404), summary="Superseded copies")
    async def revisions(request: Request, symbol: Symbol, query: Annotated[models.RevisionsQuery, Query()]) -> Any:
        def read() -> Any:
            return reader.revisions(symbol, query.timeframe, query.start, query.end)

        return await responses.rows(request, read, query.limit, query.offset)


def _add_row_routes(app: FastAPI, responses: Responses) -> None:
    """Tables whose rows are read anew for every request: gaps, coverage, macro series, instruments."""
    reader = responses.reader

    @app.get("/gaps", response_model=models.Rows, responses=_responses(404), summary="Absent bars and why")
    async def gaps(request: Request, query: Annotated[models.GapsQuery, Query()]) -> Any:
        states = None if query.state is None else [query.state]
        names = _names(query.instruments)

        def read() -> Any:
            return reader.gaps(names, query.timeframe, query.start, query.end, states=states, as_of=query.as_of)

        return await responses.rows(request, read, query.limit, query.offset, objects=("evidence",))

    @app.get("/coverage", response_model=models.Rows, responses=_responses(404), summary="Expected, present, explained")
    async def coverage(request: Request, query: Annotated[models.RowsQuery, Query()]) -> Any:
        names = _names(query.instruments)

        def read() -> Any:
            return reader.coverage(names, query.timeframe, query.start, query.end)

        return await responses.rows(request, read, query.limit, query.offset)

    @app.get("/macro/{series}", response_model=models.Rows, responses=_responses(404), summary="A macro series")
    async def macro(request: Request, series: Series, query: Annotated[models.MacroQuery, Query()]) -> Any:
        def read() -> Any:
            asked = query.start, query.end
            return reader.macro(series, *asked, as_of=query.as_of, prints=query.prints)

        return await responses.rows(request, read, query.limit, query.offset)

    @app.get("/instruments", response_model=models.Rows, responses=_responses(), summary="What is collected")
    async def instruments(request: Request, query: Annotated[models.InstrumentsQuery, Query()]) -> Any:
        return await responses.rows(request, lambda: reader.instruments(active_only=query.active_only))


def _add_health_route(app: FastAPI, responses: Responses) -> None:
    """Whether the database answers, asked on a connection of its own by one request at a time."""
    alone = CapacityLimiter(1)

    @app.get("/health/simple", response_model=models.Health, summary="Whether the database answers",
             responses={503: {"description": "It does not", "content": {problems.MEDIA_TYPE: _PROBLEM}}})  # fmt: skip
    async def health() -> Any:
        await run_sync(partial(responses.alive.row, "SELECT 1"), limiter=alone)
        return Response(
            models.Health(status="ok", cache=responses.cached.stats.as_dict()).model_dump_json(),
            media_type="application/json",
        )


def _columns(text: str | None) -> str | list[str] | None:
    return text if text is None or text == ALL else _names(text)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _describe(app: FastAPI, token: str | None) -> None:
    """Let the OpenAPI document say what is true beyond what FastAPI finds by itself."""
    schema = app.openapi()
    schema["components"].setdefault("schemas", {})["Problem"] = problems.Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(unused, None)
    if token is not None:
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, methods in schema["paths"].items():
            for described in methods.values():
                if path not in OPEN:
                    described["security"] = [{"token": []}]
    app.openapi_schema = schema
