"""Errors as RFC 9457 problem details: one clear sentence, the right status, never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from crypto_pipeline.api.forecast_models import ForecastQuery
from crypto_pipeline.api.models import QUERIES
from crypto_pipeline.api.operations.models import BODIES
from crypto_pipeline.api.prediction_models import PredictBody, PredictionsQuery
from crypto_pipeline.market.near_names import did_you_mean, near_names
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.errors import (
    DatabaseAwayError,
    QueryTooLongError,
    StoreError,
    UnknownNameError,
)

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
#: What may be sent and asked, by address, and by its first part.
_BODIES: dict[str, type[BaseModel]] = {**BODIES, "predict": PredictBody}
_QUERIES: dict[str, type[BaseModel]] = {**QUERIES, "predictions": PredictionsQuery, "forecasts": ForecastQuery}


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field("about:blank", description="Kind of problem; about:blank says that the status says it.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong with this request, and what to do.")


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A response that says what is wrong."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail).model_dump()  # type: ignore[call-arg]
    return Response(orjson.dumps(body), status, dict(headers or {}), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Have every error of ``app`` answered as a problem."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(StoreError, _store)
    app.add_exception_handler(ValueError, _value)
    app.add_exception_handler(OverflowError, _value)
    app.add_exception_handler(Exception, _unexpected)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem(422, "; ".join(_said(one, request.url.path) for one in error.errors()))


def _said(one: Mapping[str, Any], path: str) -> str:
    """What is wrong with one parameter, and what would be right, in words that Python's reader has too."""
    name, given = ".".join(str(part) for part in one["loc"][1:]), one.get("input")
    limits: dict[str, Any] = one.get("ctx") or {}
    match one["type"]:
        case "extra_forbidden":
            return _unknown(name, path)
        case "missing":
            return f"{name}: is missing{_choices(name)}"
        case "literal_error" if name == "timeframe":
            return f"unknown timeframe {given!r}: use one of {', '.join(Timeframe)}"
        case "literal_error":
            return f"{name}: unknown {name} {given!r}: use {limits['expected']}"
        case "int_parsing" | "int_from_float" | "int_type":
            return f"{name}: give a whole number, not {given!r}"
        case "greater_than_equal":
            return f"{name}: give a whole number from {limits['ge']} on, not {given!r}"
        case "less_than_equal":
            return f"{name}: give a whole number up to {limits['le']:,}, not {given!r}"
        case "bool_parsing" | "bool_type":
            return f"{name}: give true or false, not {given!r}"
        case "string_too_long":
            return f"{name}: is longer than {limits['max_length']} characters"
        case _:
            return f"{name}: {one['msg']}"


def _choices(name: str) -> str:
    return f": use one of {', '.join(Timeframe)}" if name == "timeframe" else ""


def _unknown(name: str, path: str) -> str:
    if name in ("format", "accept"):
        return f"unknown parameter {name!r}: ask for a form by its header, such as `Accept: text/csv`"
    asked = path.strip("/")
    model = _BODIES.get(asked) or _QUERIES.get(asked.partition("/")[0])
    known = list(model.model_fields) if model is not None else []
    hint = did_you_mean(near_names(name, known, 1)) or f"there are {', '.join(known) or 'none'}"
    return f"unknown parameter {name!r}: {hint}"


def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), error.headers)


def _store(_: Request, error: Exception) -> Response:
    if isinstance(error, UnknownNameError):
        return problem(404, str(error).replace("`crypto-pipeline instruments list`", "/instruments"))
    if isinstance(error, DatabaseAwayError):
        return problem(503, str(error), {"Retry-After": "2"})
    if isinstance(error, QueryTooLongError):
        return problem(422, str(error))
    log.error("a read failed: %s", error)
    return problem(503, str(error), {"Retry-After": "10"})


def _value(_: Request, error: Exception) -> Response:
    return problem(422, str(error))


def _unexpected(request: Request, error: Exception) -> Response:
    log.error("%s failed", request.url.path, exc_info=error)
    return problem(500, "this is our fault; the log of the api program says more")
