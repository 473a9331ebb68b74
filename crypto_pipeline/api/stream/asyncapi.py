"""The stream as an AsyncAPI document, made of the types that encode its frames."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, get_args

import msgspec

from crypto_pipeline.api.stream.frames import ClientMessage, RowsKind, ServerFrame
from crypto_pipeline.api.stream.names import KINDS, pattern
from crypto_pipeline.api.stream.sources.rows import AlertRow, FormingBar, PriceRow, StreamedBar, StreamedForecast
from crypto_pipeline.api.stream.sources.trading_rows import SignalRow, TradeRow

_SCHEMAS = "#/components/schemas/"
_MESSAGES = "#/components/messages/"
#: What each kind of channel sends.
ROWS: dict[str, type[msgspec.Struct]] = {
    "prices": PriceRow, "bars": StreamedBar, "forming": FormingBar, "forecasts": StreamedForecast,
    "signals": SignalRow, "trades": TradeRow, "alerts": AlertRow,
}  # fmt: skip
_WORDS = {
    "prices": "Last prices of all instruments that are collected.",
    "bars": "The newest 500 stored bars of a series. A bar that is stored, or replaced, comes as a delta.",
    "forming": "The bar of a series that is forming now.",
    "forecasts": "The newest forecasts of an instrument, one for each horizon.",
    "signals": "The newest signals of the paper account, with what was decided.",
    "trades": "Open positions and the newest closed trades of the paper account.",
    "alerts": "Open alerts.",
}
_KINDS_OF_ROWS = {
    "snapshot": "every row as it is now", "delta": "rows that replace those of the same key",
    "conflated": "every row as it is now, instead of frames that a slow client missed",
}  # fmt: skip
DESCRIPTION = """What changes is sent as soon as it is stored, as JSON objects in text messages.

A client sends `subscribe` with channels; each answers with a `snapshot`, then with a `delta` for every change. `seq`
counts the frames of a channel, the same for every client. After a break a client subscribes with the `epoch` of the
last `hello` and its last `seq`: it is sent `resumed` and the frames that it missed, or a `snapshot` where these are
not kept any more. After such a snapshot of bars, older bars may have changed too.

A client that takes its frames slowly is sent `conflated`. One that takes none for 15 s is closed with code 1013, one
that sends more than 20 messages a second with 1008. A server that has a token wants it as `Authorization: Bearer …`,
or a ticket in the address, from `POST /stream/ticket`, which is used once and within 30 s. A page of another site is
refused (403).
"""


def asyncapi_document() -> dict[str, Any]:
    """The document, version 3.0 of AsyncAPI, JSON-ready."""
    sent, asked = get_args(ServerFrame), get_args(ClientMessage)
    _, schemas = msgspec.json.schema_components([*sent, *asked, *ROWS.values()], ref_template=_SCHEMAS + "{name}")
    messages = {_name(one): _message(one, schemas) for one in (*sent, *asked)}
    messages |= {f"{kind}_rows": _rows_message(kind, row) for kind, row in ROWS.items()}
    ours = [*map(_name, sent), *(f"{kind}_rows" for kind in ROWS)]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "crypto_pipeline", "version": version("crypto-pipeline"), "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "stream": {
                "address": "/stream",
                "messages": {name: {"$ref": _MESSAGES + name} for name in messages},
                "bindings": {"ws": {"method": "GET", "query": _QUERY}},
            }
        },
        "operations": {"sent": _operation("send", ours), "asked": _operation("receive", [_name(one) for one in asked])},
        "components": {"messages": messages, "schemas": schemas},
    }  # fmt: skip


_QUERY = {
    "type": "object",
    "properties": {"ticket": {"type": "string", "description": "From POST /stream/ticket; used once."}},
}


def _name(one: type[msgspec.Struct]) -> str:
    return str(one.__struct_config__.tag)


def _message(one: type[msgspec.Struct], schemas: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": _name(one), "summary": schemas[one.__name__].get("description", ""),
        "payload": {"$ref": _SCHEMAS + one.__name__},
    }  # fmt: skip


def _rows_message(kind: str, row: type[msgspec.Struct]) -> dict[str, Any]:
    shape = KINDS[kind]
    parts = [kind, *["[^/]+"] * (shape.instrument + shape.timeframe)]
    return {
        "name": f"{kind}_rows",
        "title": pattern(kind),
        "summary": _WORDS[kind],
        "payload": {
            "type": "object",
            "properties": {
                "type": {
                    "enum": list(get_args(RowsKind)),
                    "description": "; ".join(f"{name}: {words}" for name, words in _KINDS_OF_ROWS.items()) + ".",
                },
                "channel": {"type": "string", "pattern": f"^{'/'.join(parts)}$", "description": pattern(kind)},
                "seq": {"type": "integer", "minimum": 0},
                "rows": {"type": "array", "items": {"$ref": _SCHEMAS + row.__name__}},
            },
            "required": ["type", "channel", "seq", "rows"],
            "additionalProperties": False,
        },
    }


def _operation(action: str, messages: list[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/stream"},
        "messages": [{"$ref": f"#/channels/stream/messages/{name}"} for name in messages],
    }
