"""Answers of a venue, and what their status and headers say."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from crypto_pipeline.venues.protocol import MalformedAnswer, RejectedRow, VenueError, VenueUnavailable

T = TypeVar("T")

#: Seconds of a pause whose length the venue does not state, by status: a ban lasts two minutes at least.
UNSTATED_PAUSE = {429: 1.0, 418: 120.0}
#: A stated pause is cut to this (seconds): a ban lasts three days at most.
_LONGEST_PAUSE = 3 * 86_400.0


class NotFound(VenueError):  # noqa: N818
    """Nothing at this address (HTTP 404)."""

    permanent = True


class RateLimited(VenueUnavailable):
    """The venue said to slow down (429) or banned us (418)."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A whole body, unpacked, with its headers. ``sent`` is when the request was sent (``time.monotonic``)."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    sent: float

    @property
    def server_time(self) -> float:
        """The server's own time (Unix seconds), by which it says until when to wait; ours where it states none."""
        try:
            return parsedate_to_datetime(self.headers.get("Date", "")).timestamp()
        except (ValueError, OverflowError):
            return time.time()


class RowsRefused(MalformedAnswer):
    """An answer of which some rows were refused.

    It is requested again, because most such faults pass; of the last answer ``result`` is taken, without those rows.
    """

    def __init__(self, message: str, result: object) -> None:
        super().__init__(message)
        self.result = result


def require_all_rows(result: T, refused: Sequence[RejectedRow]) -> T:
    """``result``. Raises RowsRefused when rows of it were refused."""
    if refused:
        raise RowsRefused(f"{len(refused)} rows are not believed, first: {refused[0].reason}", result)
    return result


def stated_wait(status: int, headers: Mapping[str, str]) -> float | None:
    """Seconds that a refusal with this status asks to wait; None when neither it nor custom says."""
    stated = retry_after(HttpResponse("", status, headers, b"", 0.0))
    return stated if stated is not None else UNSTATED_PAUSE.get(status)


def retry_after(response: HttpResponse) -> float | None:
    """Seconds that the header ``Retry-After`` asks to wait, at most three days; None without one that can be read."""
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
    """Whether ``target`` has the host and port of ``url``, or is the same host by https. Raises ValueError."""
    before, after = urlsplit(url), urlsplit(target)
    if _origin(before) == _origin(after):
        return True
    upgraded = (_origin(before)[0], _origin(after)[0]) == ("http", "https")
    return upgraded and before.hostname == after.hostname and (before.port, after.port) == (None, None)


def origin_of(url: str) -> str:
    """``scheme://host:port`` of an address. Raises ValueError."""
    return "{}://{}:{}".format(*_origin(urlsplit(url)))


def without_user(url: str) -> str:
    """The address without the user name and password that it may have."""
    address = urlsplit(url)
    if "@" not in address.netloc:
        return url
    return address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()


def _origin(address: SplitResult) -> tuple[str, str | None, int | None]:
    scheme = {"ws": "http", "wss": "https"}.get(address.scheme, address.scheme)
    return scheme, address.hostname, address.port or {"http": 80, "https": 443}.get(scheme)
