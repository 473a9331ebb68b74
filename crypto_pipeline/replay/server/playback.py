"""``/playback``: recorded raw sessions, frame by frame, with their original timing or as fast as possible."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from aiohttp import WSMsgType, web

from crypto_pipeline.replay.wire.connection import transport_of
from crypto_pipeline.replay.wire.frames import text_frame

#: ``<unix s>: <message>``, or ``<ns> <message>``. Lines of sent messages, connects and REST answers begin with a URL.
_SECONDS = re.compile(rb"(\d{9,11}(?:\.\d+)?): (.*)", re.DOTALL)
_NANOSECONDS = re.compile(rb"(\d{19}) (.*)", re.DOTALL)
_LINES = 500
_UNREAD = 4 << 20
_PONG = b"\x8a"


def recorded_frames(path: Path) -> Iterator[tuple[float, bytes]]:
    """Yield each received frame of a session: seconds since the first frame, and the message."""
    first: float | None = None
    with gzip.open(path) as file:
        for line in file:
            line = line.rstrip(b"\r\n")
            found = _SECONDS.fullmatch(line)
            at = float(found[1]) if found else 0.0
            if found is None:
                found = _NANOSECONDS.fullmatch(line)
                # A line without a stream's name is the answer of a REST call.
                if found is None or b'"stream"' not in found[2][:20]:
                    continue
                at = int(found[1]) / 1e9
            if first is None:
                first = at
            yield at - first, found[2]


class PlaybackHandlers:
    """Serves the sessions of one folder: ``/playback/<exchange>/<name>?speed=1``, speed 0 for as fast as possible."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the application."""
        return [web.get("/playback", self.show), web.get("/playback/{exchange}/{name}", self.serve)]

    def sessions(self) -> list[str]:
        """Names of the available sessions."""
        if self.folder is None:
            return []
        return sorted(str(path.relative_to(self.folder)).removesuffix(".gz") for path in self.folder.glob("*/*.gz"))

    async def show(self, _: web.Request) -> web.Response:
        """Answer with the names of the available sessions."""
        return web.json_response({"sessions": self.sessions()})

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Play one session and close."""
        wanted = f"{request.match_info['exchange']}/{request.match_info['name'].removesuffix('.gz')}"
        if self.folder is None or wanted not in self.sessions():
            where = self.folder or "no folder of sessions: start the exchange with one"
            return web.json_response({"error": f"no session {wanted} ({where})"}, status=404)
        try:
            speed = float(request.query.get("speed", "1"))
        except ValueError:
            speed = -1
        if not 0 <= speed <= 1_000_000:
            return web.json_response({"error": f"speed {request.query['speed']}: use a number from 0"}, status=400)
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        transport = transport_of(request)
        listening = asyncio.create_task(_listen(socket, transport))
        try:
            await _play(self.folder / f"{wanted}.gz", speed, transport)
            await _taken(transport, 0)
            await socket.close(code=1000, message=b"end of the recording")
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        return socket


async def _play(path: Path, speed: float, transport: asyncio.Transport) -> None:
    loop = asyncio.get_running_loop()
    frames = recorded_frames(path)
    started = loop.time()
    # Reading and unpacking a file must not block other connections.
    while block := await asyncio.to_thread(lambda: list(islice(frames, _LINES))):
        owed: list[bytes] = []
        for at, message in block:
            wait = started + at / speed - loop.time() if speed else 0.0
            if wait > 0.001:
                transport.write(b"".join(owed))
                owed = []
                await asyncio.sleep(wait)
            if transport.is_closing():
                return
            owed.append(text_frame(message))
        transport.write(b"".join(owed))
        await _taken(transport, _UNREAD)


async def _taken(transport: asyncio.Transport, most: int) -> None:
    """Wait until no more than ``most`` bytes are unread."""
    while transport.get_write_buffer_size() > most and not transport.is_closing():  # noqa: ASYNC110  (nothing to await)
        await asyncio.sleep(0.005)


async def _listen(socket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
    """Messages of the client are ignored, except that a ping is answered."""
    async for message in socket:
        if message.type is WSMsgType.PING:
            payload = bytes(message.data)
            transport.write(_PONG + bytes((len(payload),)) + payload)
