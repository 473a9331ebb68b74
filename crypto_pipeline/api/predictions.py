"""Routes of predictions: those that were decided, and the answer of the model in use for a row of features."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Body, FastAPI, Path, Query
from starlette.exceptions import HTTPException

from crypto_pipeline.api.operations.health import json_response, responses
from crypto_pipeline.api.prediction_models import PredictAnswer, PredictBody, PredictionsAnswer, PredictionsQuery
from crypto_pipeline.api.responses import age_headers, aged
from crypto_pipeline.reading import Reader
from crypto_pipeline.reading.arguments import optional
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store

if TYPE_CHECKING:
    from crypto_pipeline.models.stored.answers import PredictionAnswers

Symbol = Annotated[str, Path(max_length=64, description="Canonical name.", examples=["BTC-USDT"])]
#: Requests at work at once, and seconds for which the aliases of models are not looked up again.
_AT_WORK, _FRESH = 4, 1.0
#: Refusals that no other row would change, and that of a strategy without a model; any other is of the row.
_OF_MODEL, _NO_MODEL = ("too_old", "probes_differ", "damaged", "other_features"), "no_model"


def add_prediction_routes(app: FastAPI, reader: Reader, settings: Settings) -> None:
    """Add ``GET /predictions/{symbol}`` and ``POST /predict``. Neither changes anything."""
    limiter = CapacityLimiter(_AT_WORK)
    refused = responses(401, 404, 422, 429, 503)
    refused[409] = {"description": "The model may not be used", "content": refused[422]["content"]}

    @cache
    def answers() -> PredictionAnswers:
        from crypto_pipeline.models.stored.answers import PredictionAnswers  # late: the first request needs it

        return PredictionAnswers(reader.store, settings, _FRESH)

    @app.get("/predictions/{symbol}", response_model=PredictionsAnswer, summary="Predictions of an instrument",
             responses=responses(401, 404, 422, 429, 503))  # fmt: skip
    async def predictions(symbol: Symbol, query: Annotated[PredictionsQuery, Query()]) -> Any:
        span = optional(query.start, "start", up=True), optional(query.end, "end", up=True)
        strategy = None if query.strategy is None else str(query.strategy)

        def read(store: Store) -> Any:
            from crypto_pipeline.models.stored.answers import stored_predictions

            return stored_predictions(store, symbol, strategy, *span, limit=query.limit, offset=query.offset)

        answer = await run_sync(lambda: aged(lambda: reader.from_server(read)), limiter=limiter)
        response = json_response(answer.value)
        response.headers.update(age_headers(answer))
        return response

    @app.post("/predict", response_model=PredictAnswer, summary="What the model in use says of a row of features",
              responses=refused)  # fmt: skip
    async def predict(body: Annotated[PredictBody, Body()]) -> Any:
        return json_response(await run_sync(_predict, answers, body, limiter=limiter))


def _predict(answers: Any, body: PredictBody) -> dict[str, Any]:
    """The answer of the model. A refusal becomes the status that it means."""
    from crypto_pipeline.models.refusal import PredictionRefused

    given = {"feature_schema_hash": body.feature_schema_hash, "explain": body.explain}
    try:
        found: dict[str, Any] = answers().predict(body.strategy, body.row, **given)
    except PredictionRefused as refused:
        reason = str(refused.reason)
        status = 404 if reason == _NO_MODEL else 409 if reason in _OF_MODEL else 422
        raise HTTPException(status, f"{reason}: {refused}") from None
    return found
