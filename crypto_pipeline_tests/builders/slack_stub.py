"""Slack on a real socket of this machine: webhooks, the methods of its API that are used, and troubles on demand."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

TOKEN = "xoxb-of-this-test"


@dataclass
class Received:
    """A request that was taken: when (monotonic seconds), its path, and its body."""

    at: float
    path: str
    body: Any


@dataclass
class SlackStub:
    """``troubles`` are played one a request: "ok", "429:SECONDS", "500", "503-taken" (taken, then an error), "cut"
    (taken, then the connection is cut), "refused" (cut before it is taken), "hang", "400:WORD", "error:WORD" (of the
    API).
    """

    troubles: deque[str] = field(default_factory=deque)
    #: Messages that arrived.
    taken: list[Received] = field(default_factory=list)
    #: Every request, with the time of its arrival.
    asked: list[Received] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    #: Seconds that every answer takes.
    delay: float = 0.0

    def __enter__(self) -> Self:
        stub = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # the client was killed

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                stub._answer(self, None)

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                stub._answer(self, raw)

            def log_message(self, *_: object) -> None:
                pass

        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def texts(self) -> list[str]:
        """Text of every message that arrived."""
        return [one.body.get("text", "") for one in self.taken]

    def wait_for(self, count: int, seconds: float = 10.0) -> None:
        """Until so many messages arrived."""
        until = time.monotonic() + seconds
        while len(self.taken) < count:
            assert time.monotonic() < until, f"{len(self.taken)} of {count} messages arrived: {self.texts()}"
            time.sleep(0.01)

    def _answer(self, handler: BaseHTTPRequestHandler, raw: bytes | None) -> None:
        parts = urlsplit(handler.path)
        if parts.path.startswith("/upload/"):
            self.uploads[parts.path.removeprefix("/upload/")] = raw or b""
            self._reply(handler, 200, "OK")
            return
        body = json.loads(raw) if raw and raw.startswith(b"{") else {"text": (raw or b"").decode()} if raw else {}
        request = Received(time.monotonic(), parts.path, body or parse_qs(parts.query))
        with self._lock:
            self.asked.append(request)
            trouble = self.troubles.popleft() if self.troubles else "ok"
        kind, _, word = trouble.partition(":")
        if kind == "hang":
            self._ended.wait(60)
            handler.close_connection = True
            return
        if kind in ("ok", "cut", "503-taken") and (not parts.path.startswith("/api/") or "chat." in parts.path):
            with self._lock:
                self.taken.append(request)
        if self.delay:
            time.sleep(self.delay)
        if kind in ("cut", "refused"):
            handler.close_connection = True
            handler.connection.shutdown(2)
        elif kind == "429":
            self._reply(handler, 429, "rate_limited", {"Retry-After": word})
        elif kind.isdigit() or kind == "503-taken":
            self._reply(handler, int(kind[:3]), word)
        elif parts.path.startswith("/api/"):
            said = {"ok": False, "error": word} if kind == "error" else self._api(parts.path, request)
            self._reply(handler, 200, json.dumps(said))
        else:
            self._reply(handler, 200, "ok")

    def _api(self, path: str, request: Received) -> dict[str, Any]:
        match path.removeprefix("/api/"):
            case "chat.postMessage":
                return {"ok": True, "ts": f"{len(self.taken)}.0001", "channel": request.body["channel"]}
            case "conversations.history":
                found = [
                    {"ts": f"{number}.0001", "metadata": one.body.get("metadata")}
                    for number, one in enumerate(self.taken, 1)
                ]
                return {"ok": True, "messages": found[::-1], "response_metadata": {"next_cursor": ""}}
            case "files.getUploadURLExternal":
                name = request.body["filename"][0]
                return {"ok": True, "upload_url": f"{self.url}/upload/{name}", "file_id": f"F-{name}"}
            case "files.completeUploadExternal":
                return {"ok": True, "files": request.body["files"]}
        return {"ok": False, "error": "unknown_method"}

    @staticmethod
    def _reply(handler: BaseHTTPRequestHandler, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        content = text.encode()
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        try:
            handler.wfile.write(content)
        except OSError:
            handler.close_connection = True  # the client was killed
