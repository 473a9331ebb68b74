"""HTTP answers of a venue: body, status, pauses stated in headers, and errors."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from crypto_pipeline.venues.protocol import MalformedAnswer, RejectedRow, VenueError, VenueUnavailable

T = TypeVar("T")

#: Seconds of a pause without a stated length, by HTTP status: a ban lasts at least two minutes.
UNSTATED_PAUSE = {429: 1.0, 418: 120.0}
#: Longest accepted pause in seconds: a ban lasts at most three days.
_LONGEST_PAUSE = 3 * 86_400.0


class NotFound(VenueError):  # noqa: N818
    """Nothing at this address (HTTP 404)."""

    permanent = True


class RateLimited(VenueUnavailable):
    """The venue said to slow down (429) or banned us (418)."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete unpacked body with its headers. ``sent`` is when the request was sent (``time.monotonic``)."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    sent: float

    @property
    def server_time(self) -> float:
        """The server's time (Unix seconds) from its Date header; this machine's if there is none."""
        try:
            return parsedate_to_datetime(self.headers.get("Date", "")).timestamp()
        except (ValueError, OverflowError):
            return time.time()


class RowsRefused(MalformedAnswer):
    """Some rows of an answer were rejected.

    The request is repeated, because most such faults pass. After the last attempt, ``result`` without these rows is
    used.
    """

    def __init__(self, message: str, result: object) -> None:
        super().__init__(message)
        self.result = result


def require_all_rows(result: T, refused: Sequence[RejectedRow]) -> T:
    """Return ``result``. Raises RowsRefused when ``refused`` is not empty."""
    if refused:
        raise RowsRefused(f"{len(refused)} rows are invalid, first: {refused[0].reason}", result)
    return result


def stated_wait(status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds to wait after an answer with this status, stated or by default; None if there is no wait."""
    stated = retry_after(HttpResponse("", status, headers, b"", 0.0))
    return stated if stated is not None else UNSTATED_PAUSE.get(status)


def retry_after(response: HttpResponse) -> float | None:
    """Seconds in the header ``Retry-After``, at most three days; None if it is absent or unreadable."""
    stated = response.headers.get("Retry-After", "").strip()
    if not stated:
        return None
    try:
        wait = float(stated)
    except ValueError:  # not seconds: an HTTP date
        try:
            wait = parsedate_to_datetime(stated).timestamp() - response.server_time
        except (ValueError, OverflowError):
            return None
    return min(max(0.0, wait), _LONGEST_PAUSE) if wait == wait else None


def same_host(url: str, target: str) -> bool:
    """Whether ``target`` has the host and port of ``url``, or the same host by https. Raises ValueError."""
    before, after = urlsplit(url), urlsplit(target)
    if _origin(before) == _origin(after):
        return True
    upgraded = (_origin(before)[0], _origin(after)[0]) == ("http", "https")
    return upgraded and before.hostname == after.hostname and (before.port, after.port) == (None, None)


def origin_of(url: str) -> str:
    """``scheme://host:port`` of an address. Raises ValueError."""
    return "{}://{}:{}".format(*_origin(urlsplit(url)))


def with_query(url: str, query: str) -> str:
    """The address with a query, which may be empty."""
    return f"{url}?{query}" if query else url


def without_user(url: str) -> str:
    """The address without user name and password."""
    address = urlsplit(url)
    if "@" not in address.netloc:
        return url
    return address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()


def _origin(address: SplitResult) -> tuple[str, str | None, int | None]:
    scheme = {"ws": "http", "wss": "https"}.get(address.scheme, address.scheme)
    return scheme, address.hostname, address.port or {"http": 80, "https": 443}.get(scheme)


class NotRepeated(VenueUnavailable):
    """An error after which no further attempt is made."""


def is_worth_repeating(error: BaseException) -> bool:
    """Whether the same request may succeed soon."""
    if isinstance(error, RateLimited | NotRepeated):
        return False
    return isinstance(error, VenueError) and not error.permanent
