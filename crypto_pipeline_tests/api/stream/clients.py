"""Clients of the stream for tests: each frame is held to the AsyncAPI document."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jsonschema import Draft202012Validator
from websockets.sync.client import ClientConnection, connect

from crypto_pipeline.api.stream.asyncapi import asyncapi_document

DOCUMENT = asyncapi_document()
_SENT = [
    {"$ref": f"#/components/messages/{each['$ref'].rsplit('/', 1)[1]}/payload"}
    for each in DOCUMENT["operations"]["sent"]["messages"]
]
#: A frame that the server sends is exactly one of the messages that the document says it sends.
DESCRIBED = Draft202012Validator({"oneOf": _SENT, "components": DOCUMENT["components"]})


class Client:
    """A client that reads frame by frame, and holds each to the AsyncAPI document; heartbeats are left out."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.hello = self.next()

    def next(self) -> dict[str, Any]:
        until = time.monotonic() + 10
        while True:
            frame: dict[str, Any] = json.loads(self.socket.recv(timeout=until - time.monotonic()))
            DESCRIBED.validate(frame)
            if frame["type"] != "heartbeat":
                return frame

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def subscribe(self, channel: str, **more: Any) -> dict[str, Any]:
        self.send(op="subscribe", channels=[{"channel": channel, **more}])
        return self.next()


@contextmanager
def client(port: int, query: str = "", **more: Any) -> Iterator[Client]:
    with connect(f"ws://127.0.0.1:{port}/stream{query}", **more) as socket:
        yield Client(socket)


def shake_hands(one: socket.socket, message: dict[str, Any]) -> None:
    """Become a websocket by hand, and send one message."""
    head = "GET /stream HTTP/1.1", f"Host: 127.0.0.1:{one.getpeername()[1]}", "Upgrade: websocket", *(
        "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", ""
    )  # fmt: skip
    one.sendall("\r\n".join(head).encode())
    assert b"101" in one.recv(1024)
    body = json.dumps(message).encode()
    assert len(body) < 126
    one.sendall(bytes([0x81, 0x80 | len(body), 0, 0, 0, 0]) + body)
