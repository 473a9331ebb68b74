"""One HTTP client for all venues: weight budget, retries, pauses on 429 and 418, circuit breaker, bounded bodies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar, cast
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp
import stamina
import stamina.instrumentation

from crypto_pipeline.venues.client.bodies import SMALL, read_body, read_start
from crypto_pipeline.venues.client.breaker import Breaker
from crypto_pipeline.venues.client.budget import MemoryBudget
from crypto_pipeline.venues.protocol import (
    MAX_QUOTED,
    MalformedAnswer,
    Refused,
    RequestBudget,
    Truncated,
    VenueError,
    VenueUnavailable,
    cut,
)

log = logging.getLogger(__name__)
T = TypeVar("T")
Params = Mapping[str, str | int]

USER_AGENT = "crypto-pipeline"
#: A pause longer than this is not waited for: the caller is told when to come back.
MAX_PAUSE = 150.0
#: Weight is granted at the latest in the next window but one, unless many processes share the budget.
MAX_BUDGET_WAIT = 300.0
#: A pause whose length the venue does not state: a ban lasts two minutes at least.
_UNSTATED_PAUSE = {429: 1.0, 418: 120.0}
#: A stated pause is believed up to this: a ban lasts three days at most.
_LONGEST_PAUSE = 3 * 86_400.0
#: How often an answer with rows that are not believed is asked for, until what is left of it is taken.
_DOUBTS = 3
_REDIRECTS, _MOST_REDIRECTS = frozenset({301, 302, 303, 307, 308}), 5


class NotFound(VenueError):  # noqa: N818
    """Nothing at this address (HTTP 404)."""

    permanent = True


class RateLimited(VenueUnavailable):
    """The venue said to slow down (429) or banned us (418)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole body with its headers, and when the request that brought it was sent (``time.monotonic``)."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    sent: float

    @property
    def said_at(self) -> float:
        """The server's own time (Unix seconds), by which it says until when to wait; ours where it tells none."""
        try:
            return parsedate_to_datetime(self.headers.get("Date", "")).timestamp()
        except (ValueError, OverflowError):
            return time.time()


class Doubtful(MalformedAnswer):
    """An answer of which some rows are not believed.

    It is asked for again, because most such faults pass; the last ``result`` is taken as it is.
    """

    def __init__(self, message: str, result: object) -> None:
        super().__init__(message)
        self.result = result


def sure(result: T, refused: Sequence[Refused]) -> T:
    """``result``; raises Doubtful when rows of it were refused."""
    if refused:
        raise Doubtful(f"{len(refused)} rows are not believed, first: {refused[0].reason}", result)
    return result


#: Reads a venue's error body; None leaves the judgement to the HTTP status.
Explain = Callable[[Answer], VenueError | None]


@dataclass(frozen=True, slots=True)
class Manners:
    """How patient a client is."""

    timeout: float = 15.0
    attempts: int = 6
    concurrency: int = 8
    wait_initial: float = 0.25
    wait_max: float = 10.0
    wait_jitter: float = 0.5
    breaker_threshold: int = 5
    breaker_recovery: float = 30.0


class HttpClient:
    """GETs of one host. Usable from one event loop at a time; connections are opened on first use."""

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        budget: RequestBudget | None = None,
        manners: Manners | None = None,
        used_header: str = "",
        explain: Explain | None = None,
        refused: Explain | None = None,
    ) -> None:
        self.name = name
        self.base_url = base_url.rstrip("/")
        self.budget: RequestBudget = budget or MemoryBudget()
        self.manners = manners or Manners()
        self.breaker = Breaker(name, threshold=self.manners.breaker_threshold, recovery=self.manners.breaker_recovery)
        #: Header in which the venue states the weight used in the current window.
        self.used_header = used_header
        self._explain = explain
        #: Reads a refusal that came with HTTP 200, as some venues send them.
        self._refused = refused
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(self.manners.concurrency)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def get(
        self,
        path: str,
        decode: Callable[[Answer], T],
        *,
        params: Params | None = None,
        weight: int = 0,
        attempts: int | None = None,
        most: int = SMALL,
    ) -> T:
        """GET ``path`` and return ``decode(answer)``; a body that ``decode`` rejects as malformed is fetched again.

        ``most`` bytes are what the answer can have by what was asked; a larger one is malformed.
        """
        async with self.breaker.call():
            return await self._repeat(path, decode, params or {}, weight, attempts or self.manners.attempts, most)

    async def get_once(
        self,
        path: str,
        decode: Callable[[Answer], T],
        *,
        params: Params | None = None,
        weight: int = 0,
        most: int = SMALL,
    ) -> T:
        """One attempt, whatever the breaker says, and soon: to learn whether the venue answers."""
        return decode(await self._request(path, params or {}, weight, most, budget_wait=self.manners.timeout))

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _repeat(
        self, path: str, decode: Callable[[Answer], T], params: Params, weight: int, attempts: int, most: int
    ) -> T:
        manners = self.manners
        async for attempt in stamina.retry_context(
            on=_worth_repeating,
            attempts=attempts,
            timeout=None,
            wait_initial=manners.wait_initial,
            wait_max=manners.wait_max,
            wait_jitter=manners.wait_jitter,
        ):
            with attempt:
                if attempt.num > 1 and await self.breaker.is_open():
                    raise _GivenUp(f"{self.name} failed repeatedly meanwhile", retry_after=manners.breaker_recovery)
                try:
                    return decode(await self._polite(path, params, weight, most))
                except Doubtful as doubt:
                    if attempt.num < min(attempts, _DOUBTS):
                        raise
                    return cast(T, doubt.result)
        raise AssertionError("unreachable: the retry context returns or raises")

    async def _polite(self, path: str, params: Params, weight: int, most: int) -> Answer:
        """Request; being told to wait is obeyed by everyone who shares the budget and uses up no attempt."""
        deadline = time.monotonic() + 2 * MAX_PAUSE
        while True:
            try:
                return await self._request(path, params, weight, most)
            except RateLimited as limited:
                pause = max(limited.retry_after or 0.0, 0.1)
                await self.budget.pause(pause)
                if pause > MAX_PAUSE or time.monotonic() + pause > deadline:
                    raise
                log.warning("%s: %s; pausing %.1f s", self.name, limited, pause)

    async def _request(
        self, path: str, params: Params, weight: int, most: int, budget_wait: float = MAX_BUDGET_WAIT
    ) -> Answer:
        session = self._open()
        async with self._slots:
            await self._acquire(weight, budget_wait)
            try:
                answer = await self._fetch(session, path, params, most)
            except MalformedAnswer as error:
                raise type(error)(f"{self.name} {path}: {error}") from error
            except aiohttp.ClientPayloadError as error:
                raise Truncated(f"{self.name} {path}: truncated answer ({error})") from error
            except TimeoutError as error:
                raise VenueUnavailable(f"{self.name} {path}: no answer in {self.manners.timeout:g} s") from error
            except (aiohttp.ClientError, OSError) as error:
                raise VenueUnavailable(f"{self.name} at {self.base_url}: {error or type(error).__name__}") from error
        await self._report(answer)
        if answer.status != 200:
            raise self._failure(answer)
        refusal = self._refused(answer) if self._refused is not None else None
        if refusal is not None:
            raise refusal
        return answer

    async def _fetch(self, session: aiohttp.ClientSession, path: str, params: Params, most: int) -> Answer:
        """The answer, after redirects within the host."""
        url, query = self.base_url + path, dict(params)
        for _ in range(_MOST_REDIRECTS + 1):
            sent = time.monotonic()
            async with session.get(url, params=query, allow_redirects=False) as response:
                try:
                    if response.status in _REDIRECTS and "Location" in response.headers:
                        url, query = self._redirected(response), {}
                        response.close()
                        continue
                    read = read_body(response, most) if response.status == 200 else read_start(response)
                    body = await read
                    if not response.content.at_eof():
                        response.close()
                    return Answer(cut(str(response.url)), response.status, response.headers, body, sent)
                except BaseException:
                    response.close()  # what was not read must not be waited for
                    raise
        raise _GivenUp(f"{self.name} {path}: redirected more than {_MOST_REDIRECTS} times")

    def _redirected(self, response: aiohttp.ClientResponse) -> str:
        """Where a redirect leads, if it stays with the host that was asked."""
        here, target = str(response.url), ""
        try:
            target = urljoin(here, response.headers["Location"])
            followed = same_host(here, target)
        except ValueError:
            followed = False
        if not followed:
            asked = "{}://{}:{}".format(*_place(urlsplit(here)))
            raise _GivenUp(f"{self.name} redirects to {cut(target)!r}, another place than {asked}: not followed")
        return target

    async def _acquire(self, weight: int, wait: float) -> None:
        try:
            async with asyncio.timeout(wait):
                await self.budget.acquire(weight)
        except TimeoutError:
            raise _GivenUp(f"{self.name}: the request budget allowed nothing for {wait:g} s") from None

    async def _report(self, answer: Answer) -> None:
        used = answer.headers.get(self.used_header, "") if self.used_header else ""
        # A refusal says itself how long to wait; its count is at the limit and would close the whole window besides.
        if used.isascii() and used.isdigit() and len(used) < 10 and answer.status not in (418, 429):
            await self.budget.report(int(used))

    def _failure(self, answer: Answer) -> VenueError:
        where = f"{self.name} {answer.url}: HTTP {answer.status}"
        error = self._explain(answer) if self._explain is not None else None
        if answer.status in (418, 429):
            stated = _retry_after(answer)
            if stated is None and isinstance(error, RateLimited):
                return error  # only the text says until when
            return RateLimited(where, retry_after=stated if stated is not None else _UNSTATED_PAUSE[answer.status])
        if error is not None:
            return error
        if answer.status == 404:
            return NotFound(where)
        if answer.status == 403:  # a firewall that found us too fast; it lets go after a while
            return VenueUnavailable(f"{where} (blocked by the venue's firewall)", retry_after=_retry_after(answer))
        if answer.status >= 500 or answer.status == 408:
            return VenueUnavailable(where, retry_after=_retry_after(answer))
        return VenueError(f"{where} {answer.body[:MAX_QUOTED].decode(errors='replace')}", permanent=True)

    def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            manners = self.manners
            self._loop = loop
            self._slots = asyncio.Semaphore(manners.concurrency)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=manners.concurrency, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(
                    total=20 * manners.timeout, connect=manners.timeout, sock_read=manners.timeout
                ),
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "gzip, deflate"},
                auto_decompress=False,  # it would unpack first and count afterwards
            )
        return self._session


def same_host(here: str, target: str) -> bool:
    """Whether an address is of the host and port of ``here``, or the same host by https. Raises ValueError."""
    before, after = urlsplit(here), urlsplit(target)
    if _place(before) == _place(after):
        return True
    upgraded = (_place(before)[0], _place(after)[0]) == ("http", "https")
    return upgraded and before.hostname == after.hostname and (before.port, after.port) == (None, None)


def _place(address: SplitResult) -> tuple[str, str | None, int | None]:
    scheme = {"ws": "http", "wss": "https"}.get(address.scheme, address.scheme)
    return scheme, address.hostname, address.port or {"http": 80, "https": 443}.get(scheme)


def stated_wait(status: int, headers: Mapping[str, str]) -> float | None:
    """How long a refusal of this status asks to wait; None when neither it nor custom tells."""
    stated = _retry_after(Answer("", status, headers, b"", 0.0))
    return stated if stated is not None else _UNSTATED_PAUSE.get(status)


def _log_retry(details: stamina.instrumentation.RetryDetails) -> None:
    log.info("%s; attempt %d in %.1f s", details.caused_by, details.retry_num + 1, details.wait_for)


# Its own default prints to standard output where structlog is installed, amid what programs read there.
stamina.instrumentation.set_on_retry_hooks([_log_retry])


class _GivenUp(VenueUnavailable):
    """Not repeated here: repeating is what failed."""


def _worth_repeating(error: Exception) -> bool:
    if isinstance(error, RateLimited | _GivenUp):
        return False
    return isinstance(error, VenueError) and not error.permanent


def _retry_after(answer: Answer) -> float | None:
    stated = answer.headers.get("Retry-After", "").strip()
    if not stated:
        return None
    try:
        wait = float(stated)
    except ValueError:  # not seconds: an HTTP date
        try:
            wait = parsedate_to_datetime(stated).timestamp() - answer.said_at
        except (ValueError, OverflowError):
            return None
    return min(max(0.0, wait), _LONGEST_PAUSE) if wait == wait else None
