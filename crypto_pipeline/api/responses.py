"""From a query to a response: cached bodies first, then a worker thread; validators, age and links as headers.

A request that was answered before is not parsed again: while its body is cached, ``cached_for`` returns it.
"""

from __future__ import annotations

import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode

import orjson
import polars as pl
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Request
from starlette.responses import Response

from crypto_pipeline.api import formats
from crypto_pipeline.api.formats import Form
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading import Reader
from crypto_pipeline.reading.answer import Answer
from crypto_pipeline.reading.cache import CacheRequest
from crypto_pipeline.reading.cached_reader import time_to_live
from crypto_pipeline.reading.query import Question
from crypto_pipeline.reading.servers.read_servers import one_server
from crypto_pipeline.store.coordination.notifications import Series
from crypto_pipeline.store.database.pool import Connections

T = TypeVar("T")

#: Requests at work. More than there are connections: small reads of many are asked together by one of them.
_THREADS = 32
#: Requests whose cache key is remembered, and how long one may be, in bytes.
_MOST_REQUESTS, _LONGEST = 5_000, 1_000


class Body:
    """Bytes of one form, with where the next page is, and notes on what could not be adjusted."""

    __slots__ = ("crc", "data", "next", "notes")

    def __init__(self, data: bytes, following: str | None, notes: Sequence[str] = ()) -> None:
        self.data, self.next, self.notes, self.crc = data, following, notes, f"{zlib.crc32(data):08x}"


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What of a request decides its response."""

    path: str
    query: bytes
    accept: bytes
    encoding: bytes
    known: bytes | None

    @classmethod
    def from_scope(cls, scope: MutableMapping[str, Any]) -> RequestKey:
        """The key of an ASGI request; of headers that come twice the first counts, as in Starlette."""
        found: dict[bytes, bytes] = {}
        for name, value in reversed(scope["headers"]):
            found[name] = value
        return cls(
            scope["path"], scope["query_string"], found.get(b"accept", b""), found.get(b"accept-encoding", b""),
            found.get(b"if-none-match"),
        )  # fmt: skip

    @property
    def question(self) -> Hashable:
        """The key without the version that the client has already."""
        return self.path, self.query, self.accept, self.encoding


class Responses:
    """Makes responses of a reader's answers, and caches their bodies in the reader's cache."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.cached = reader.cached
        connections = reader.store.connections
        #: A connection of its own, so that being busy is not taken for being away.
        self.alive = Connections(reader.store.url, 1, patience=min(2.0, connections.patience), statement_timeout=2.0)
        self._limiter = CapacityLimiter(max(_THREADS, connections.size))
        self._requests: OrderedDict[Hashable, tuple[Hashable, float, Form]] = OrderedDict()

    def cached_for(self, scope: MutableMapping[str, Any]) -> Response | None:
        """The response to a request that was answered before, if its body is cached and still valid; else None."""
        request_key = RequestKey.from_scope(scope)
        found = self._requests.get(request_key.question)
        if found is None:
            return None
        key, ttl, form = found
        answer: Answer[Body] | None = self.cached.cache.peek(key, ttl)
        return None if answer is None else _response(request_key, form, answer)

    async def _run(self, work: Callable[[], T]) -> T:
        return await run_sync(work, limiter=self._limiter)

    async def now(self) -> datetime:
        """The market's time."""
        return await self._run(self.reader.now)

    async def bars(self, request: Request, asked: Question, limit: int) -> Response:
        """A page of bars of one instrument, or its newest."""
        form = _form(request)
        key = asked, limit, form

        def compute() -> Body:
            page, following = asked, None
            if asked.start is not None:
                page, following = self._page(asked, limit)
            frame, notes = self.reader.answers.answer(page)
            link = None if following is None else _link(request, start=_iso(following))
            head = {"instrument": asked.instruments[0], "timeframe": str(asked.timeframe), "next": link}
            return Body(formats.encode(frame, form, _head(head, "bars"), b"}"), link, notes)

        return await self._kept(request, key, asked, compute)

    async def latest(self, request: Request, asked: Question) -> Response:
        """The newest bar of each instrument."""
        form = _form(request)

        def compute() -> Body:
            head = _head({"timeframe": str(asked.timeframe)}, "bars")
            return Body(formats.encode(self.reader.answer(asked), form, head, b"}"), None)

        return await self._kept(request, ("latest", asked, form), asked, compute)

    async def rows(
        self,
        request: Request,
        read: Callable[[], pl.DataFrame],
        limit: int | None = None,
        offset: int = 0,
        objects: Sequence[str] = (),
    ) -> Response:
        """A page of what ``read`` gives, which is not kept. ``objects``: columns of JSON text."""
        form = _form(request)

        def compute() -> Body:
            frame, link = read(), None
            if limit is not None:
                if frame.height > offset + limit:
                    link = _link(request, offset=str(offset + limit))
                frame = frame.slice(offset, limit)
            return Body(formats.encode(frame, form, _head({"next": link}, "rows"), b"}", objects), link)

        answer = await self._run(lambda: aged(compute))
        return _response(RequestKey.from_scope(request.scope), form, answer)

    async def _kept(self, request: Request, key: Hashable, asked: Question, compute: Callable[[], Body]) -> Response:
        form, request_key = _form(request), RequestKey.from_scope(request.scope)
        if not asked.cacheable:
            now = datetime.now(UTC)
            return _response(request_key, form, Answer(await self._run(compute), now))
        ttl = time_to_live(asked.instruments)
        if len(request_key.query) + len(request_key.accept) + len(request_key.encoding) < _LONGEST:
            self._requests[request_key.question] = key, ttl, form
            if len(self._requests) > _MOST_REQUESTS:
                self._requests.popitem(last=False)
        answer: Answer[Body] | None = self.cached.cache.peek(key, ttl)
        if answer is None:
            version: Callable[[], str] | None = None
            if asked.start is not None or len(asked.instruments) == 1:
                version = lambda: self.cached.version(asked)  # noqa: E731

            def get() -> Answer[Body]:
                request = CacheRequest(key, ttl, lambda: self._series(asked), compute, _size, version)
                return self.cached.cache.get(request)

            return _response(request_key, form, await self._run(get))
        return _response(request_key, form, answer)

    def _series(self, asked: Question) -> Collection[Series]:
        return self.cached.series(asked)

    def _page(self, asked: Question, limit: int) -> tuple[Question, datetime | None]:
        """The question of one page, no wider than ``limit`` windows, and where the next page begins."""
        assert asked.start is not None
        until = asked.end or self.reader.store.clock.lately()
        # years before the first bar would be thousands of empty pages
        first = self._first_day(asked)
        begin = asked.start if first is None else max(asked.start, min(first, until))
        if begin >= until:
            return replace(asked, end=until), None
        end = asked.timeframe.ceil(begin) + limit * asked.timeframe.delta if first is not None else until
        if end >= until:
            return replace(asked, start=begin, end=asked.end), None
        return replace(asked, start=begin, end=end), end

    def _first_day(self, asked: Question) -> datetime | None:
        assert asked.start is not None
        name, timeframe = asked.instruments[0], Timeframe(asked.timeframe)
        request = CacheRequest(
            ("first day", name, timeframe), time_to_live([name]), lambda: self._series(asked),
            lambda: self.reader.store.coverage.first_day(name, timeframe), lambda _: 100,
        )  # fmt: skip
        kept = self.cached.cache.get(request).value
        if kept is not None and kept <= asked.start:
            return kept
        # something would be left out because of it: then it must not be older than the answer
        return self.reader.store.coverage.first_day(name, timeframe)


def aged(read: Callable[[], T]) -> Answer[T]:
    """What ``read`` gives, from one server, with the moment that it is of: a replica's is earlier than now."""
    begun = time.monotonic()
    with one_server() as record:
        value = read()
    _, known = record.known_since(0, begun)
    as_of = datetime.now(UTC) - timedelta(seconds=time.monotonic() - known)
    return Answer(value, as_of, record.without_primary)


def _form(request: Request) -> Form:
    return formats.negotiate(request.headers.get("accept", ""), request.headers.get("accept-encoding", ""))


def _head(values: Mapping[str, object], rows: str) -> bytes:
    return orjson.dumps(values)[:-1] + f',"{rows}":'.encode()


def _size(body: Body) -> int:
    return len(body.data)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _link(request: Request, **changed: str) -> str:
    query = dict(request.query_params) | changed
    return f"{request.url.path}?{urlencode(query)}"


def age_headers(answer: Answer[Any]) -> dict[str, str]:
    """The headers that say of which moment an answer is."""
    found = {"Age": str(int(answer.age_s)), "X-As-Of": _iso(answer.as_of)}
    return found | {"X-Stale": "true"} if answer.stale else found


def _response(request_key: RequestKey, form: Form, answer: Answer[Body]) -> Response:
    body = answer.value
    version = answer.version if answer.version is not None else "c"
    tag = f'"{version}-{body.crc}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "no-cache",
        "Vary": "Accept, Accept-Encoding",
        **age_headers(answer),
    }
    if body.next is not None:
        headers["Link"] = f'<{body.next}>; rel="next"'
    if body.notes:
        headers["X-Note"] = "; ".join(body.notes).encode("ascii", "replace").decode()
    if request_key.known is not None:
        known = request_key.known.decode("latin-1")
        if known.strip() == "*" or tag in known:
            return Response(status_code=304, headers=headers)
    encoding = formats.encoding_of(body.data) if form.encoding else None
    if encoding is not None:
        headers["Content-Encoding"] = encoding
    return Response(body.data, 200, headers, form.media_type)


class CachedResponses:
    """ASGI middleware: a cached response is sent at once, every other request goes on to the application."""

    def __init__(self, app: Callable[..., Any], responses: Responses) -> None:
        self._app, self._answering = app, responses

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """ASGI."""
        found = self._answering.cached_for(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        await (self._app if found is None else found)(scope, receive, send)
