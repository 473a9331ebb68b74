"""The route of the watchlist: one read a second serves everybody who looks at it."""

from __future__ import annotations

from typing import Any

import polars as pl
from fastapi import FastAPI, Request

from crypto_pipeline.api.operations.health import responses as refusals
from crypto_pipeline.api.operations.parts import AwayMark, Part
from crypto_pipeline.api.page.models import WatchlistAnswer
from crypto_pipeline.api.responses import Responses
from crypto_pipeline.reading.watchlist import watchlist
from crypto_pipeline.store.database.errors import DatabaseAwayError

#: Seconds for which the rows are kept.
_KEPT = 1.0


def add_watchlist_route(app: FastAPI, responses: Responses) -> None:
    """Add ``GET /watchlist``."""
    part = Part("watchlist", lambda: watchlist(responses.reader.store), _KEPT, AwayMark())

    def read() -> pl.DataFrame:
        found = part.get()
        if found.trouble is not None:
            raise DatabaseAwayError(found.trouble)
        frame: pl.DataFrame = found.value
        return frame

    @app.get("/watchlist", response_model=WatchlistAnswer, responses=refusals(401, 406, 429, 503),
             summary="Last prices, and what today has and lacks")  # fmt: skip
    async def rows(request: Request) -> Any:
        return await responses.rows(request, read)
