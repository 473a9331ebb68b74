"""One HTTP request of which it is known afterwards whether the other side may have had it.

Requests go to httpx's transport, not to its client, which would log whole addresses: those of webhooks are secrets.
Every request has a connection of its own, because an idle one that the other side has closed makes the outcome
uncertain.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from crypto_pipeline.ops.alerting.channels.result import DeliveryResult

#: Seconds to connect, and from the request to the end of the answer.
CONNECT, ANSWER = 5.0, 10.0
_MOST_BYTES = 1_000_000
#: Longest pause that a channel may demand, in seconds.
LONGEST_RETRY_AFTER = 3_600.0


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An answer: status, headers with lower-case names, and the body as text."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def retry_after(self) -> float | None:
        """Seconds that the answer demands to wait, by its header Retry-After; None: it has none that is readable."""
        stated = self.headers.get("retry-after", "").strip()
        if stated.isascii() and stated.isdigit():
            return min(float(stated), LONGEST_RETRY_AFTER)
        try:
            at = parsedate_to_datetime(stated)
        except ValueError:
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return min(max(0.0, (at - datetime.now(UTC)).total_seconds()), LONGEST_RETRY_AFTER)


class RequestFailed(Exception):  # noqa: N818  (reads as the fact it states)
    """There is no answer. ``arrived`` is "no", or "unknown" where the request may have been read."""

    def __init__(self, message: str, arrived: Literal["no", "unknown"]) -> None:
        super().__init__(message)
        self.arrived = arrived

    @property
    def result(self) -> DeliveryResult:
        """The same as the end of an attempt."""
        return DeliveryResult("refused" if self.arrived == "no" else "unknown", str(self))


def exchange(
    method: str,
    url: str,
    body: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    answer_seconds: float = ANSWER,
) -> HttpReply:
    """Send a request, with ``body`` as JSON or ``content`` as it is, and return the answer, redirects too.

    Raises RequestFailed, whose message contains neither the address nor what was sent.
    """
    import httpx

    try:
        payload = json.dumps(body).encode() if body is not None else content
        kind = {"Content-Type": "application/json; charset=utf-8"} if body is not None else {}
        request = httpx.Request(method, url, headers={**kind, **(headers or {})}, content=payload)
        timeouts = {"connect": CONNECT, "pool": CONNECT, "write": answer_seconds, "read": answer_seconds}
        request.extensions = {"timeout": timeouts}
        transport = httpx.HTTPTransport(proxy=_proxy(url), trust_env=True)
    except (httpx.InvalidURL, ValueError, TypeError, OSError) as error:
        raise RequestFailed(f"the address cannot be used ({type(error).__name__})", "no") from None
    deadline = time.monotonic() + CONNECT + answer_seconds
    try:
        with transport:
            response = transport.handle_request(request)
            return HttpReply(response.status_code, _lower(response.headers), _read(response, deadline))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
        raise RequestFailed(f"no connection ({_words(error)})", "no") from None
    except httpx.UnsupportedProtocol:
        raise RequestFailed("the address has to begin with https:// or http://", "no") from None
    except httpx.TimeoutException:
        raise RequestFailed(f"no answer within {answer_seconds:g} s", "unknown") from None
    except (httpx.HTTPError, httpx.StreamError, OSError) as error:
        raise RequestFailed(f"the connection broke before the answer ({_words(error)})", "unknown") from None


def _read(response: Any, deadline: float) -> str:
    """The body, up to a bound of length and time."""
    import httpx

    parts, size = [], 0
    for part in response.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES:
            break
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer does not end")
    return b"".join(parts).decode(errors="replace")


def _proxy(url: str) -> str | None:
    """The proxy of the environment for this address, None for a direct connection.

    As of venues, whose module brings Polars into a program that should stay small.
    """
    address = urlsplit(url)
    host = address.hostname or ""
    if host == "localhost" or host.startswith("127.") or host == "::1" or proxy_bypass(host):
        return None
    proxies = getproxies()
    stated = proxies.get(address.scheme) or proxies.get("all")
    return stated if not stated or "://" in stated else f"http://{stated}"


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _words(error: BaseException) -> str:
    """What kind of failure it was; its message may name the address."""
    cause = error.__cause__ or error.__context__
    inner = f": {cause.strerror}" if isinstance(cause, OSError) and cause.strerror else ""
    return type(error).__name__ + inner
