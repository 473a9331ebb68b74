"""Routes of health and metrics. They have connections and threads of their own: no read of bars keeps them waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import orjson
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from starlette.responses import Response

from crypto_pipeline.api import problems
from crypto_pipeline.api.operations import models
from crypto_pipeline.api.operations.collector import MEDIA_TYPE, exposition
from crypto_pipeline.api.operations.figures import DeploymentFigures
from crypto_pipeline.ops.checks.registry import definitions
from crypto_pipeline.ops.checks.states import CheckState, Overall, overall, worst_first

#: Requests at work at once; more wait, and then mostly find what the ones before them read.
_THREADS = 2
_PROBLEM = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
#: Parts of the details that are shown as they were read, by the names that they have there.
_SHOWN = {
    "freshness": "newest_bars", "coverage": "stored_bars", "gaps": "gaps", "features": "features", "views": "views",
    "alerts": "alerts", "leases": "leases", "heartbeats": "heartbeats", "programs": "programs", "venues": "budgets",
    "queue": "queue", "daemons": "daemons", "database": "database", "ping": "ping", "machine": "machine",
    "disk": "disk",
}  # fmt: skip


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer beside its model."""
    words = {
        401: "The token is missing or wrong", 403: "No token is set, so nothing may be started",
        404: "Unknown instrument or venue", 406: "No such format", 422: "A value is wrong", 429: "Too many requests",
        503: "The database or Dagster is away, or busy",
    }  # fmt: skip
    return {status: {"description": words[status], "content": _PROBLEM} for status in statuses}


def json_response(body: object, status: int = 200) -> Response:
    """A JSON response; times are UTC."""
    return Response(orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS), status, media_type="application/json")


def add_health_routes(
    app: FastAPI, figures: DeploymentFigures, reader_cache: Callable[[], Mapping[str, float]]
) -> None:
    """Add ``/health``, ``/health/details`` and ``/metrics``."""
    limiter = CapacityLimiter(_THREADS)

    report = {"application/json": {"schema": {"$ref": "#/components/schemas/HealthAnswer"}}}
    critical: dict[int | str, dict[str, Any]] = {
        503: {"description": "A critical check is bad", "content": {**report, **_PROBLEM}}
    }

    @app.get("/health", response_model=models.HealthAnswer, summary="How the deployment is",
             responses={**responses(429), **critical})  # fmt: skip
    async def health(request: Request) -> Any:
        status, checks = await run_sync(_checks, figures, limiter=limiter)
        shown = checks if request.state.trusted else None
        return json_response({"status": status, "checks": shown}, 503 if status == "critical" else 200)

    @app.get("/health/details", response_model=models.HealthDetails, summary="Everything that is known of it",
             responses=responses(401, 429, 503))  # fmt: skip
    async def details(request: Request) -> Any:
        return json_response(await run_sync(_details, figures, limiter=limiter))

    @app.get("/metrics", summary="Metrics for Prometheus", response_class=Response,
             responses={200: {"description": "Prometheus' text format", "content": {"text/plain": {}}},
                        **responses(401, 429, 503)})  # fmt: skip
    async def metrics() -> Response:
        body = await run_sync(exposition, figures, reader_cache(), limiter=limiter)
        return Response(body, media_type=MEDIA_TYPE)


def _checks(figures: DeploymentFigures) -> tuple[Overall, list[dict[str, Any]]]:
    """The overall status, and the checks that are bad or unknown."""
    found = figures.part("checks")
    if found.trouble is not None:
        definition = definitions()["database"]
        away = CheckState(
            name=definition.name, subject="", category=definition.category, status="bad", severity="critical",
            summary=found.trouble, figure=None, unit=definition.unit, threshold=definition.limit(figures.settings),
            since=None, checked_at=None, runbook=definition.runbook, source=definition.name,
        )  # fmt: skip
        return "critical", [away.as_dict()]
    states: list[CheckState] = found.value
    return overall(states), [one.as_dict() for one in worst_first(states) if one.status != "ok"]


def _details(figures: DeploymentFigures) -> dict[str, Any]:
    status, checks = _checks(figures)
    found, troubles = figures.parts(_SHOWN)
    for shown in ("machine", "disk"):
        found[shown] = None if found[shown] is None else asdict(found[shown])
    ping = found.pop("ping")
    if found["database"] is not None:
        found["database"] = {**found["database"], "latency_seconds": ping}
    return {"status": status, "checks": checks, **found, **instigators(figures, troubles), "troubles": troubles}


def instigators(figures: DeploymentFigures, troubles: dict[str, str]) -> dict[str, list[dict[str, Any]] | None]:
    """``schedules`` and ``sensors``; where they cannot be read None, with a line in ``troubles``."""
    ticks = figures.part("instigators")
    if ticks.trouble is not None:
        troubles |= {"schedules": ticks.trouble, "sensors": ticks.trouble}
        return {"schedules": None, "sensors": None}
    rows: list[dict[str, Any]] = ticks.value
    return {
        "schedules": [row for row in rows if row["kind"] == "schedule"],
        "sensors": [row for row in rows if row["kind"] == "sensor"],
    }
