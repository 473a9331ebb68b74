"""One connection: what the client asks, and what it is sent."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from crypto_pipeline.api.stream.client import StreamClient
from crypto_pipeline.api.stream.frames import MOST_CHANNELS, StreamError, Unsubscribe, WantedChannel, decoded, encoded
from crypto_pipeline.api.stream.hub import ChannelHub
from crypto_pipeline.store import StoreError
from crypto_pipeline.store.database.errors import DatabaseAwayError

#: Seconds in which a client must take a frame; then it is cut off.
STALLED = 15.0
#: Messages of one client a second, in bursts twice as many.
_RATE = 20
#: Seconds until a channel is looked for again that could not be, because the database was away.
_AGAIN = 2.0
#: Why a connection is closed: the client is too slow; it breaks the rules.
TOO_SLOW, AGAINST_RULES = 1013, 1008


class StreamSession:
    """A connection from its acceptance to its end."""

    def __init__(self, websocket: WebSocket, hub: ChannelHub) -> None:
        self._websocket, self._hub = websocket, hub
        self._client = StreamClient()
        #: Channels that are looked for again once the database answers.
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._left, self._at = 2.0 * _RATE, time.monotonic()

    async def run(self) -> None:
        """Serve until the client goes, or is cut off."""
        self._hub.sessions += 1  # before anything is awaited: of many who come at once each is counted
        try:
            await self._websocket.accept()
            self._client.offer(await self._hub.hello())
            await self._serve()
        finally:
            self._hub.sessions -= 1

    async def _serve(self) -> None:
        self._hub.enter(self._client)
        tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.leave(self._client)
            tasks += self._waiting.values()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self) -> None:
        with suppress(WebSocketDisconnect):
            while True:
                text = await self._client.next()
                try:
                    async with asyncio.timeout(STALLED):
                        await self._websocket.send_text(text)
                except TimeoutError:
                    await self._close(TOO_SLOW, f"no frame was taken for {STALLED:g} s")
                    return

    async def _receive(self) -> None:
        with suppress(WebSocketDisconnect):
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if not self._in_time():
                    await self._close(AGAINST_RULES, f"more than {_RATE} messages a second")
                    return
                await self._answer(message.get("text") or message.get("bytes") or "")

    async def _answer(self, message: str | bytes) -> None:
        try:
            asked = decoded(message)
        except ValueError as error:
            self._client.offer(encoded(StreamError(str(error))))
            return
        if isinstance(asked, Unsubscribe):
            for text in asked.channels:
                self._wait_no_longer(text)
                self._hub.unsubscribe(self._client, text)
            return
        for wanted in asked.channels:
            self._wait_no_longer(wanted.channel)
            await self._subscribe(wanted)

    async def _subscribe(self, wanted: WantedChannel) -> None:
        known = self._client.channels.keys() | self._waiting.keys()
        try:
            if wanted.channel not in known and len(known) >= MOST_CHANNELS:
                raise ValueError(f"a connection follows at most {MOST_CHANNELS} channels: open another one")
            await self._hub.subscribe(self._client, wanted.channel, wanted.epoch, wanted.after)
        except DatabaseAwayError:
            self._later(wanted)
        except (ValueError, StoreError) as error:
            self._client.offer(encoded(StreamError(str(error), wanted.channel)))

    def _later(self, wanted: WantedChannel) -> None:
        """Follow a channel once the database answers again."""

        async def again() -> None:
            await asyncio.sleep(_AGAIN)
            await self._subscribe(wanted)

        def done(task: asyncio.Task[None]) -> None:
            if self._waiting.get(wanted.channel) is task:
                del self._waiting[wanted.channel]

        self._waiting[wanted.channel] = task = asyncio.create_task(again())
        task.add_done_callback(done)

    def _wait_no_longer(self, channel: str) -> None:
        task = self._waiting.pop(channel, None)
        if task is not None:
            task.cancel()

    def _in_time(self) -> bool:
        """Take one message from the client's bucket; False where it is empty."""
        now = time.monotonic()
        self._left = min(2.0 * _RATE, self._left + (now - self._at) * _RATE) - 1
        self._at = now
        return self._left >= 0

    async def _close(self, code: int, reason: str) -> None:
        with suppress(RuntimeError, WebSocketDisconnect):
            await self._websocket.close(code, reason)
