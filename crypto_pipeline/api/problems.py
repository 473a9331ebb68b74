"""Errors as RFC 9457 problem details: one clear sentence, the right status, never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from crypto_pipeline.store.errors import DatabaseAwayError, QueryTooLongError, StoreError, UnknownInstrumentError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


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


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = "; ".join(f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors())
    return problem(422, said)


def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), error.headers)


def _store(_: Request, error: Exception) -> Response:
    if isinstance(error, UnknownInstrumentError):
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
