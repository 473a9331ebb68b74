"""One HTTP client for all venues, on httpx: request budget, retries, pauses on 429 and 418, circuit breaker.

``bodies`` reads and bounds bodies; ``transport`` and ``proxy`` make connections. Requests go to httpx's transport
itself: cookies, redirects and logins of httpx's client are not needed, and cost a fifth of a page.
HTTP/1.1 only: HTTP/2 was measured and is slower here, because its frames are read in Python (see bench/RESULTS.md).
"""

from __future__ import annotations

import asyncio
import copy
import logging
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar, cast
from urllib.parse import urlencode, urljoin

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from crypto_pipeline.venues.client.bodies import SMALL, read_body, read_start
from crypto_pipeline.venues.client.breaker import Breaker
from crypto_pipeline.venues.client.budget import MemoryBudget
from crypto_pipeline.venues.client.proxy import ProxyRefused
from crypto_pipeline.venues.client.responses import (
    UNSTATED_PAUSE,
    HttpResponse,
    NotFound,
    NotRepeated,
    RateLimited,
    RowsRefused,
    is_worth_repeating,
    origin_of,
    retry_after,
    same_host,
    with_query,
    without_user,
)
from crypto_pipeline.venues.client.transport import ConnectionStack
from crypto_pipeline.venues.protocol import (
    MAX_QUOTED,
    MalformedAnswer,
    RequestBudget,
    VenueError,
    VenueUnavailable,
    shorten,
)

log = logging.getLogger(__name__)
T = TypeVar("T")
Params = Mapping[str, str | int]

USER_AGENT = "crypto-pipeline"
#: Longest pause that a request waits for, in seconds. For a longer one it raises with ``retry_after``.
MAX_PAUSE = 150.0
#: Longest wait for request weight, in seconds: more than two windows, for many processes that share a budget.
MAX_BUDGET_WAIT = 300.0
#: An answer may take at most this many times the timeout, even if its bytes keep coming.
_TOTAL_TIMEOUTS = 20
#: Number of requests for an answer with rejected rows; then its valid rows are used.
_ATTEMPTS_FOR_REFUSED_ROWS = 3
#: A path that httpx would send as it is.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._~:-]*")
_REDIRECTS, _MAX_REDIRECTS = frozenset({301, 302, 303, 307, 308}), 5

#: Reads a venue's error body; None means that the HTTP status decides.
Explain = Callable[[HttpResponse], VenueError | None]


@dataclass(frozen=True, slots=True)
class RequestPolicy:
    """Timeouts, retries and concurrency of a client; times in seconds.

    Attributes:
        timeout: Limit for a connection, and for each piece of an answer.
        attempts: Greatest number of tries of one call.
        concurrency: Greatest number of concurrent requests, and of connections.
        wait_initial: Pause before the second try; each further pause is twice as long.
        wait_max: Longest pause.
        wait_jitter: Greatest random addition to a pause.
        breaker_threshold: Failed calls in a row after which the breaker opens.
        breaker_recovery: Seconds that the breaker stays open.
    """

    timeout: float = 15.0
    attempts: int = 6
    concurrency: int = 8
    wait_initial: float = 0.25
    wait_max: float = 10.0
    wait_jitter: float = 0.5
    breaker_threshold: int = 5
    breaker_recovery: float = 30.0


@dataclass(frozen=True, slots=True)
class _Call:
    """What is asked for: a GET, or a POST where there is ``content``, which may be empty."""

    path: str
    params: Params
    weight: int
    max_bytes: int
    content: bytes | None = None


class HttpClient:
    """Client for requests to one host. Use it in one event loop at a time; connections open on first use.

    The environment may name a proxy (see ``proxy_for``).
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        budget: RequestBudget | None = None,
        policy: RequestPolicy | None = None,
        used_header: str = "",
        explain: Explain | None = None,
        refused: Explain | None = None,
        hidden: Params | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.base_url = base_url.rstrip("/")
        self.budget: RequestBudget = budget or MemoryBudget()
        self.policy = policy or RequestPolicy()
        self.breaker = Breaker(name, threshold=self.policy.breaker_threshold, recovery=self.policy.breaker_recovery)
        #: Name of the header with the weight used in the current window.
        self.used_header = used_header
        self._explain = explain
        #: Reads an error that came with HTTP 200, as some venues send them.
        self._refused = refused
        #: Parameters of every request that stand in no message: keys.
        self._hidden = dict(hidden or {})
        timeout = self.policy.timeout
        self._timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout)
        self._shared: httpx.Request | None = None
        # ``bodies`` unpacks packed bodies: httpx would unpack first, and a bound could be checked only afterwards.
        self._headers = httpx.Headers({"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "User-Agent": USER_AGENT})
        self._headers.update(headers or {})
        self._connections: ConnectionStack | None = None
        self._slots = asyncio.Semaphore(self.policy.concurrency)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def get(
        self,
        path: str,
        decode: Callable[[HttpResponse], T],
        *,
        params: Params | None = None,
        weight: int = 0,
        attempts: int | None = None,
        max_bytes: int = SMALL,
    ) -> T:
        """GET ``path`` and return ``decode(response)``; a body for which ``decode`` raises MalformedAnswer is
        fetched again.

        A body of more than ``max_bytes`` is malformed. ``weight`` is booked in the budget. Raises VenueError.
        """
        async with self.breaker.call():
            return await self._repeat(_Call(path, params or {}, weight, max_bytes), decode, attempts)

    async def post(
        self, path: str, decode: Callable[[HttpResponse], T], content: bytes, weight: int = 0, max_bytes: int = SMALL
    ) -> T:
        """The same by POST, for what a venue gives without a key to POST alone: it is repeated as a GET is."""
        async with self.breaker.call():
            return await self._repeat(_Call(path, {}, weight, max_bytes, content), decode)

    async def get_once(self, path: str, decode: Callable[[HttpResponse], T], weight: int, max_bytes: int = SMALL) -> T:
        """Make one attempt, even while the breaker is open, to see whether the venue answers. Raises VenueError."""
        return decode(await self._request(_Call(path, {}, weight, max_bytes), budget_wait=self.policy.timeout))

    async def close(self) -> None:
        """Close all connections."""
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.aclose()

    async def _repeat(self, call: _Call, decode: Callable[[HttpResponse], T], attempts: int | None = None) -> T:
        policy, attempts = self.policy, attempts or self.policy.attempts
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(is_worth_repeating),
            stop=stop_after_attempt(attempts),
            wait=wait_exponential_jitter(policy.wait_initial, policy.wait_max, jitter=policy.wait_jitter),
            before_sleep=_log_retry,
            reraise=True,
        ):
            with attempt:
                number = attempt.retry_state.attempt_number
                if number > 1 and await self.breaker.is_open():
                    raise NotRepeated(f"{self.name} failed repeatedly meanwhile", retry_after=policy.breaker_recovery)
                try:
                    return decode(await self._request_after_pauses(call))
                except RowsRefused as refused:
                    if number < min(attempts, _ATTEMPTS_FOR_REFUSED_ROWS):
                        raise
                    return cast(T, refused.result)
        raise AssertionError("unreachable: the retries return or raise")

    async def _request_after_pauses(self, call: _Call) -> HttpResponse:
        """Request. A pause that the venue demands applies to all users of the budget, and does not count as an
        attempt.
        """
        deadline = time.monotonic() + 2 * MAX_PAUSE
        while True:
            try:
                return await self._request(call)
            except RateLimited as limited:
                pause = max(limited.retry_after or 0.0, 0.1)
                await self.budget.pause(pause)
                if pause > MAX_PAUSE or time.monotonic() + pause > deadline:
                    raise
                log.warning("%s: %s; pausing %.1f s", self.name, limited, pause)

    async def _request(self, call: _Call, budget_wait: float = MAX_BUDGET_WAIT) -> HttpResponse:
        connections, path = self._open(), call.path
        async with self._slots:
            await self._acquire(call.weight, budget_wait)
            try:
                async with asyncio.timeout(_TOTAL_TIMEOUTS * self.policy.timeout):
                    response = await self._fetch(connections, call)
            except MalformedAnswer as error:
                raise type(error)(f"{self.name} {path}: {error}") from error
            except ProxyRefused as error:
                raise NotRepeated(f"{self.name}: {error}") from error
            except (TimeoutError, httpx.TimeoutException) as error:
                raise VenueUnavailable(f"{self.name} {path}: no answer in {self.policy.timeout:g} s") from error
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                where = without_user(self.base_url)
                raise VenueUnavailable(f"{self.name} at {where}: {str(error) or type(error).__name__}") from error
        await self._report(response)
        if response.status != 200:
            raise self._failure(response)
        refusal = self._refused(response) if self._refused is not None else None
        if refusal is not None:
            raise refusal
        return response

    async def _fetch(self, connections: ConnectionStack, call: _Call) -> HttpResponse:
        """The response, after redirects within the host."""
        url, query = self.base_url + call.path, urlencode({**call.params, **self._hidden})
        for _ in range(_MAX_REDIRECTS + 1):
            sent = time.monotonic()
            request = self._request_for(url, query, call.content)
            response = await connections.handle_async_request(request)
            try:
                if response.status_code in _REDIRECTS and "Location" in response.headers:
                    url, query = self._redirected(with_query(url, query), response.headers["Location"]), ""
                    continue
                whole = response.status_code == 200
                body = await (read_body(response, call.max_bytes) if whole else read_start(response))
                return HttpResponse(
                    shorten(self._shown(without_user(with_query(url, query)))),
                    response.status_code,
                    response.headers,
                    body,
                    sent,
                )
            finally:
                await response.aclose()
        raise NotRepeated(f"{self.name} {call.path}: redirected more than {_MAX_REDIRECTS} times")

    def _request_for(self, url: str, query: str, content: bytes | None) -> httpx.Request:
        """What all GETs share is made once: httpx looks at every character of an address and a header."""
        if content is not None:
            asked = httpx.Request("POST", with_query(url, query), headers=self._headers, content=content)
            asked.headers["Content-Type"] = "application/json"
            asked.extensions = {"timeout": self._timeouts}
            return asked
        if self._shared is None:
            self._shared = httpx.Request("GET", self.base_url, headers=self._headers)
        path = _PLAIN_PATH.fullmatch(url, len(self.base_url)) if url.startswith(self.base_url) else None
        request = copy.copy(self._shared) if path is not None else httpx.Request("GET", url, headers=self._headers)
        target = request.url.raw_path
        if path is not None:
            target = target.rstrip(b"/") + path[0].encode("ascii")
        if query:
            target += b"?" + query.encode("ascii")
        request.extensions = {"timeout": self._timeouts, "target": target}
        return request

    def _redirected(self, url: str, location: str) -> str:
        """The address of a redirect, if it is on the requested host."""
        target, followed = "", False
        with suppress(ValueError):
            target = urljoin(url, location)
            followed = same_host(url, target)
        if not followed:
            shown = shorten(self._shown(target))
            raise NotRepeated(f"{self.name} redirects to {shown!r}, another host than {origin_of(url)}: not followed")
        return target

    async def _acquire(self, weight: int, wait: float) -> None:
        try:
            async with asyncio.timeout(wait):
                await self.budget.acquire(weight)
        except TimeoutError:
            raise NotRepeated(f"{self.name}: the request budget allowed nothing for {wait:g} s") from None

    async def _report(self, response: HttpResponse) -> None:
        used = response.headers.get(self.used_header, "") if self.used_header else ""
        # An error states how long to wait; its count is at the limit and would block the whole window in addition.
        if used.isascii() and used.isdigit() and len(used) < 10 and response.status not in (418, 429):
            await self.budget.report(int(used))

    def _failure(self, response: HttpResponse) -> VenueError:
        where = f"{self.name} {response.url}: HTTP {response.status}"
        error = self._explain(response) if self._explain is not None else None
        if response.status in (418, 429):
            stated = retry_after(response)
            if stated is None and isinstance(error, RateLimited):
                return error  # only the text states the end of the ban
            return RateLimited(where, retry_after=stated if stated is not None else UNSTATED_PAUSE[response.status])
        if error is not None:
            return error
        if response.status == 404:
            return NotFound(where)
        if response.status == 403:  # a firewall blocks us for too many requests, for a while
            return VenueUnavailable(f"{where} (blocked by the venue's firewall)", retry_after=retry_after(response))
        if response.status == 407:
            return VenueUnavailable(f"{where} (the proxy requires another user name or password)")
        if response.status >= 500 or response.status == 408:
            return VenueUnavailable(where, retry_after=retry_after(response))
        said = self._shown(response.body[:MAX_QUOTED].decode(errors="replace"))
        return VenueError(f"{where} {said}", permanent=True)

    def _shown(self, text: str) -> str:
        """``text`` without the values of hidden parameters."""
        for value in self._hidden.values():
            text = text.replace(str(value), "(hidden)")
        return text

    def _open(self) -> ConnectionStack:
        loop = asyncio.get_running_loop()
        if self._connections is None or self._loop is not loop:
            self._loop = loop
            self._slots = asyncio.Semaphore(self.policy.concurrency)
            self._connections = ConnectionStack()
        return self._connections


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    log.info("%s; attempt %d in %.1f s", error, state.attempt_number + 1, state.upcoming_sleep)
