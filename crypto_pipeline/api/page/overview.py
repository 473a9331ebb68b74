"""Routes of what the live page shows at a glance: open alerts, schedules with links into Dagster, shadow variants."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from cronsim import CronSim
from fastapi import FastAPI

from crypto_pipeline.api.operations.figures import DeploymentFigures
from crypto_pipeline.api.operations.health import instigators, json_response, responses
from crypto_pipeline.api.operations.parts import AwayMark, Part
from crypto_pipeline.api.operations.run_requests import dagster_address
from crypto_pipeline.api.page import models
from crypto_pipeline.ops.alerting.groups import alert_groups
from crypto_pipeline.reading import Reader
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.errors import DatabaseAwayError

#: Requests at work at once, and seconds for which answers are kept: alerts only for those that wait for the same read,
#: because the stream tells of each; the comparison of variants moves once a day.
_AT_WORK, _ALERTS_KEPT, _SHADOW_KEPT = 2, 0.0, 60.0
_LOCATION = "crypto_pipeline"


def add_overview_routes(app: FastAPI, reader: Reader, figures: DeploymentFigures) -> None:
    """Add ``GET /alerts``, ``/schedules`` and ``/shadow``."""
    limiter, away = CapacityLimiter(_AT_WORK), AwayMark()
    open_alerts = Part("alerts", lambda: _alerts(reader.store), _ALERTS_KEPT, away)
    variants = Part("shadow", lambda: _shadow(reader.store, figures.settings), _SHADOW_KEPT, away)
    refused = responses(401, 429, 503)

    @app.get("/alerts", response_model=models.AlertsAnswer, responses=refused, summary="Open alerts by their cause")
    async def alerts() -> Any:
        return json_response(await run_sync(_value, open_alerts, limiter=limiter))

    @app.get("/schedules", response_model=models.SchedulesAnswer, responses=refused,
             summary="Schedules and sensors, with links into Dagster")  # fmt: skip
    async def schedules() -> Any:
        return json_response(await run_sync(schedules_answer, figures, datetime.now(UTC), limiter=limiter))

    @app.get("/shadow", response_model=models.ShadowAnswer, responses=refused,
             summary="Variants beside production")  # fmt: skip
    async def shadow() -> Any:
        return json_response(await run_sync(_value, variants, limiter=limiter))


def _value(part: Part) -> Any:
    found = part.get()
    if found.trouble is not None:
        raise DatabaseAwayError(found.trouble)
    return found.value


def _alerts(store: Store) -> dict[str, Any]:
    return {"groups": [group.as_dict() for group in alert_groups(store)]}


def _shadow(store: Store, settings: Settings) -> dict[str, Any]:
    # late: the first request needs it
    from crypto_pipeline.trading.stored.shadow.shown import report_dict, stored_report, test_words

    report = stored_report(store, settings)
    return {**report_dict(store, report), "test_words": test_words(report.test)}


def schedules_answer(figures: DeploymentFigures, now: datetime) -> dict[str, Any]:
    """Schedules and sensors with links into Dagster; ``now`` (aware): after which the next ticks are."""
    found, troubles = figures.parts({"runs": "queue"})
    ui = dagster_address(figures.settings)
    shown = {
        kind: None if rows is None else [_with_link(row, ui, kind, now) for row in rows]
        for kind, rows in instigators(figures, troubles).items()
    }
    return {"ui": ui, **shown, **found, "troubles": troubles}


def _with_link(row: dict[str, Any], ui: str, kind: str, now: datetime) -> dict[str, Any]:
    due = next(CronSim(row["cron"], now)) if row["cron"] and row["running"] else None
    return {**row, "next_tick": due, "url": f"{ui}/locations/{_LOCATION}/{kind}/{row['name']}"}
