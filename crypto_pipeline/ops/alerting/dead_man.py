"""The dead man's switch: a ping to a watcher elsewhere while all is well, so that silence is noticed there.

The protocol is that of healthchecks.io: the address itself says that all is well, the address with ``/fail`` says that
it is not. The ping is sent only when, at the newest look, a row was written to the database and the heartbeats of
Dagster's daemon and of ingest were seen to be true.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from crypto_pipeline.ops.alerting.channels.http_request import RequestFailed, exchange

log = logging.getLogger(__name__)

#: Checks that must be ok, as far as the deployment has them.
REQUIRED = ("database", "database_writable", "dagster_daemon", "ingest")
#: Seconds for which one of them may be unknown before that counts as a failure: programs need time to start.
UNKNOWN_FOR = 180.0


class SeenCheck(Protocol):
    """What is needed of the state of a check."""

    @property
    def name(self) -> str:
        """Of the check."""

    @property
    def status(self) -> str:
        """ok, bad or unknown."""

    @property
    def summary(self) -> str:
        """One line for people."""


class DeadMan:
    """Pings one address every ``seconds``. ``clock`` gives seconds that only grow."""

    def __init__(
        self,
        url: SecretStr,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        send: Callable[[str, str | None], None] | None = None,
    ) -> None:
        self._url, self._seconds, self._clock = url, seconds, clock
        self._send = send or self._send_beside
        self._last: tuple[float, bool] | None = None
        self._unknown_since: float | None = None
        self._sending: threading.Thread | None = None

    def report(self, states: Sequence[SeenCheck], *, written: bool, trouble: str = "") -> bool | None:
        """Tell the result of one look, and ping if it is time.

        ``written``: whether a row was written to the database; ``trouble`` says why not. Returns True for a ping, False
        for a failure, None when nothing was sent.
        """
        now = self._clock()
        reason = self._reason(states, written, trouble, now)
        if reason == "":  # nothing is proven yet
            return None
        well = reason is None
        if self._last is not None and self._last[1] is well and now - self._last[0] < self._seconds:
            return None
        self._last = now, well
        self._send(self._url.get_secret_value() if well else _failure_url(self._url), reason)
        return well

    def _reason(self, states: Iterable[SeenCheck], written: bool, trouble: str, now: float) -> str | None:
        """Why the ping is not sent; None when all is well, empty while that is not known yet."""
        if not written:
            return trouble or "no row could be written to the database"
        required = [one for one in states if one.name in REQUIRED]
        bad = [f"{one.name}: {one.summary}" for one in required if one.status == "bad"]
        if bad:
            return "\n".join(bad)
        unknown = [f"{one.name} is unknown: {one.summary}" for one in required if one.status == "unknown"]
        if not any(one.name == "database" for one in required):
            unknown.append("the checks were not evaluated")
        if not unknown:
            self._unknown_since = None
            return None
        if self._unknown_since is None:
            self._unknown_since = now
        return "\n".join(unknown) if now - self._unknown_since > UNKNOWN_FOR else ""

    def _send_beside(self, url: str, reason: str | None) -> None:
        """Send without making the looks wait; a ping that hangs is not followed by another."""
        if self._sending is not None and self._sending.is_alive():
            return
        self._sending = threading.Thread(target=ping, args=[url, reason], name="dead-man", daemon=True)
        self._sending.start()


def ping(url: str, reason: str | None) -> bool:
    """Send one ping, with the reason of a failure as its body; whether it was taken."""
    try:
        reply = exchange("POST", url, content=(reason or "").encode()[:10_000])
    except RequestFailed as error:
        log.warning("the ping of the dead man's switch failed: %s", error)
        return False
    if reply.status >= 300:
        log.warning("the ping of the dead man's switch was answered with HTTP %d", reply.status)
    return reply.status < 300


def _failure_url(url: SecretStr) -> str:
    parts = urlsplit(url.get_secret_value())
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/fail"))
