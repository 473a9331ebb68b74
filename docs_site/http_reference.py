"""The page about HTTP: every route of the application, from its OpenAPI document."""

from __future__ import annotations

import asyncio
from typing import Any

from crypto_pipeline.api.app import create_app
from crypto_pipeline.api.operations.figures import DeploymentFigures
from crypto_pipeline.reading import Reader
from crypto_pipeline.settings import load_settings
from docs_site.json_schema import fields, type_of
from docs_site.markdown import as_anchor, heading, table

_HEAD = """# HTTP

Every address of the server, made from its OpenAPI document, which a running deployment gives at
`http://127.0.0.1:8790/openapi.json`. Times are UTC. A span holds the bars that open at `start` or later and before
`end`. [Reading over HTTP](../reading.md#http) says how formats, pages, validators and limits work;
[Operations](../operations.md#health-and-metrics-over-http) explains health and metrics.

"""


def document(url: str) -> dict[str, Any]:
    """The OpenAPI document of the application over the database behind ``url``."""
    settings = load_settings()
    app = create_app(Reader(url), figures=DeploymentFigures(url, settings))
    try:
        return app.openapi()
    finally:
        asyncio.run(_close(app))


async def _close(app: Any) -> None:
    async with app.router.lifespan_context(app):
        pass


def page(document: dict[str, Any]) -> str:
    """The whole page."""
    routes = [
        (path, method.upper(), told) for path, methods in document["paths"].items() for method, told in methods.items()
    ]
    rows = [
        (f"[`{method} {path}`](#{as_anchor(method, path)})", told.get("summary", "")) for path, method, told in routes
    ]
    parts = [_HEAD, table(("request", "what it answers"), rows)]
    for path, method, told in routes:
        parts += [heading(2, f"{method} {path}", as_anchor(method, path)), _route(told, document)]
    return "\n".join(parts)


def _route(told: dict[str, Any], document: dict[str, Any]) -> str:
    parts = [f"{told.get('summary', '').rstrip('.')}. {told.get('description') or ''}\n"]
    given = [
        (f"`{each['name']}`", each["in"], type_of(each["schema"]), each.get("description", ""))
        for each in told.get("parameters", ())
    ]
    if given:
        parts.append(table(("parameter", "in", "type", "meaning"), given))
    if body := told.get("requestBody"):
        schema = next(iter(body["content"].values()))["schema"]
        parts += ["Body:\n", *fields(schema, document)]
    parts.append(table(("status", "meaning", "as"), [_answer(*each) for each in told["responses"].items()]))
    good: dict[str, Any] = next((one for status, one in told["responses"].items() if status.startswith("2")), {})
    schema = good.get("content", {}).get("application/json", {}).get("schema", {})
    shown = list(fields(schema, document))
    return "\n".join([*parts, *(["The answer as JSON:\n", *shown] if shown else [])])


def _answer(status: str, told: dict[str, Any]) -> tuple[str, str, str]:
    return status, told["description"], ", ".join(f"`{kind}`" for kind in told.get("content", {}))
