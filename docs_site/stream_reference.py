"""The page about the stream: every channel and every frame, from its AsyncAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crypto_pipeline.api.stream.asyncapi import asyncapi_document
from crypto_pipeline.api.stream.names import KINDS
from docs_site.json_schema import fields
from docs_site.markdown import as_anchor, heading, prose, table

_HEAD = """# Stream

Prices, bars, forecasts, signals, trades and alerts over a websocket at `ws://127.0.0.1:8790/stream`, made from the
AsyncAPI document that a running deployment gives at `http://127.0.0.1:8790/asyncapi.json`. Times are Unix milliseconds,
UTC. [Follow live data](../how-to/follow-live.md) begins with an example.

"""


def channels() -> list[str]:
    """Every kind of channel."""
    return list(KINDS)


def page() -> str:
    """The whole page."""
    document = asyncapi_document()
    messages = document["components"]["messages"]
    rows = {name: told for name, told in messages.items() if name.endswith("_rows")}
    parts = [_HEAD, prose(document["info"]["description"]), "## Channels\n"]
    listed = [(f"[`{told['title']}`](#{_anchor(name)})", told["summary"]) for name, told in rows.items()]
    parts.append(table(("channel", "what it sends"), listed))
    for name, told in rows.items():
        parts.append(heading(3, f"Rows of {name.removesuffix('_rows')}", _anchor(name)))
        parts += [f"{told['summary']}\n", *_row_fields(told, document)]
    for title, operation in (("Frames of the server", "sent"), ("Messages of the client", "asked")):
        parts.append(f"## {title}\n")
        for reference in document["operations"][operation]["messages"]:
            name = reference["$ref"].rpartition("/")[2]
            if name not in rows:
                parts += [heading(3, name, _anchor(name)), f"{messages[name]['summary']}\n"]
                parts += fields(messages[name]["payload"], document)
    return "\n".join([*parts, _of_rows(next(iter(rows.values())))])


def _anchor(name: str) -> str:
    return as_anchor("frame", name)


def _row_fields(told: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    yield from fields(told["payload"]["properties"]["rows"]["items"], document)


def _of_rows(told: dict[str, Any]) -> str:
    shape = told["payload"]["properties"]
    kinds = ", ".join(f"`{each}`" for each in shape["type"]["enum"])
    return (
        f"## Frames with rows\n\n{kinds}: {shape['type']['description']} Each has `channel`, `seq` and `rows`. "
        "Rows of a delta replace those of the same key: `open_time` of bars, `instrument` of prices.\n"
    )
