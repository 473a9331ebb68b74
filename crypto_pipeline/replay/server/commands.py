"""Commands that clients send on a stream connection, and Binance's answers."""

from __future__ import annotations

import json
from typing import Any

from crypto_pipeline.replay.server.hub import StreamHub
from crypto_pipeline.replay.wire.connection import Subscriber

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


class _Bad(Exception):  # noqa: N818  (never leaves this module)
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def answer(hub: StreamHub, connection: Subscriber, text: str) -> str:
    """Execute a command; return the answer."""
    given: Any = None
    try:
        try:
            given = json.loads(text)
        except ValueError as error:
            line, column = (error.lineno, error.colno) if isinstance(error, json.JSONDecodeError) else (1, 1)
            raise _Bad(3, f"Invalid JSON: expected value at line {line} column {column}") from None
        result = _do(hub, connection, given, len(text))
    except _Bad as bad:
        body: dict[str, Any] = {"code": bad.code, "msg": bad.message}
        if isinstance(given, dict) and _is_id(given.get("id")):
            body["id"] = given["id"]
        return _text(body)
    return _text({"result": result, "id": given["id"]})


def _do(hub: StreamHub, connection: Subscriber, given: Any, length: int) -> Any:
    if not isinstance(given, dict):
        raise _Bad(2, f"Invalid request: invalid type, expected a request object at line 1 column {length}")
    if "method" not in given:
        raise _Bad(2, f"Invalid request: missing field `method` at line 1 column {length}")
    method = given["method"]
    if method not in _METHODS:
        known = ", ".join(f"`{name}`" for name in _METHODS)
        raise _Bad(2, f"Invalid request: unknown variant `{method}`, expected one of {known} at line 1 column {length}")
    if not _is_id(given.get("id")):
        raise _Bad(2, "Invalid request: request ID must be an unsigned integer")
    if not given.keys() <= {"method", "params", "id"}:
        raise _Bad(2, "Invalid request: too many parameters")
    if method == "LIST_SUBSCRIPTIONS":
        return list(connection.streams)
    params = given.get("params")
    if method in ("SET_PROPERTY", "GET_PROPERTY"):
        return _property(connection, method, params)
    if not isinstance(params, list) or not params or not all(isinstance(name, str) for name in params):
        raise _Bad(2, f"Invalid request: params must be a list of stream names at line 1 column {length}")
    for name in params:
        if method == "UNSUBSCRIBE":
            hub.unsubscribe(connection, name)
        elif not hub.subscribe(connection, name):
            limit = connection.rules.max_streams
            raise _Bad(2, f"Invalid request: a connection can listen to at most {limit} streams")
    return None


def _property(connection: Subscriber, method: str, params: Any) -> Any:
    if not isinstance(params, list) or not params or not isinstance(params[0], str):
        raise _Bad(2, "Invalid request: property name must be a string")
    if params[0] != "combined":
        raise _Bad(0, "Unknown property")
    if method == "GET_PROPERTY":
        return connection.combined
    if len(params) != 2 or not isinstance(params[1], bool):
        raise _Bad(1, "Invalid value type: expected Boolean")
    connection.combined = params[1]
    return None


def _is_id(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


def _text(body: dict[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"))
