"""The network: ports that a start takes, the venue that bars come from, and this machine's clock beside the venue's."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit

from crypto_pipeline.defaults import replays
from crypto_pipeline.ops.doctor.requirements import Requirement
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host.extras import require_celery
from crypto_pipeline.ops.host.paths import Places, running_state
from crypto_pipeline.ops.host.ports import claim_port
from crypto_pipeline.settings import PREFIX, Settings

#: Difference of clocks in seconds that is shown as a note, and one that is bad.
_CLOCK_NOTE, _CLOCK_BAD = 2.0, 30.0
#: Seconds for which redis may take to answer.
_PATIENCE = 3.0


def ports(settings: Settings) -> Requirement:
    """The ports of the Dagster UI, the replay exchange and HTTP reads, unless a deployment here has them already."""
    if running_state(Places(settings.data_dir)) is not None:
        return Requirement("ports", "ok", f"`up` runs on {settings.data_dir} and has its ports")
    wanted = {"ui": settings.ui_port, "api": settings.api_port}
    if settings.replayed:
        wanted["replay"] = settings.replay_port
    troubles = []
    for name, port in wanted.items():
        try:
            claim_port(settings.host, port, name, f"--{name}-port")
        except OpsError as error:
            troubles.append(str(error))
    found = ", ".join(f"{name} {port or 'any'}" for name, port in wanted.items()) + f" on {settings.host}"
    if troubles:
        return Requirement("ports", "bad", found, "; ".join(troubles) + ".")
    return Requirement("ports", "ok", found)


def run_workers(settings: Settings) -> Requirement:
    """What hands runs to workers: the extra ``celery``, and the redis of ``celery_broker_url``."""
    assert settings.celery_broker_url is not None
    try:
        require_celery()
    except OpsError as error:
        return Requirement("run workers", "bad", "the extra celery is absent", f"{error}.")
    from redis import Redis
    from redis.exceptions import RedisError

    url = settings.celery_broker_url.get_secret_value()
    parts = urlsplit(url)
    address = f"redis at {parts.hostname}:{parts.port or 6379}"
    try:
        with Redis.from_url(url, socket_connect_timeout=_PATIENCE, socket_timeout=_PATIENCE) as redis:
            said: Any = redis.info("server")
    except (RedisError, OSError) as error:
        fix = f"Start it, or let {PREFIX}CELERY_BROKER_URL lead to one that runs; without the setting none is needed."
        return Requirement("run workers", "bad", f"{address} does not answer: {error}", fix)
    return Requirement("run workers", "ok", f"{address}, {said['redis_version']}")


def venue(settings: Settings) -> list[Requirement]:
    """Whether the first venue answers, and how far this clock is from its own. The replay exchange comes with `up`."""
    if replays(settings.venue):
        return [Requirement("venue", "ok", f"{settings.venue}: comes with `up`, needs no network")]
    return asyncio.run(_ask(settings))


async def _ask(settings: Settings) -> list[Requirement]:
    from crypto_pipeline.venues import MemoryBudget, VenueError, make_venue

    once = settings.model_copy(update={"request_attempts": 1})
    one = make_venue(once, MemoryBudget())
    try:
        status = await one.status()
        if not status.reachable:
            return [_away(settings, status.detail), Requirement("clock", "unknown", "the venue was not reached")]
        sent, begun = time.monotonic(), time.time()
        said = await one.server_time()
        offset = said.timestamp() - begun - (time.monotonic() - sent) / 2
    except VenueError as error:
        return [_away(settings, str(error)), Requirement("clock", "unknown", "the venue was not reached")]
    finally:
        await one.close()
    return [Requirement("venue", "ok", f"{settings.venue} answers"), _clock(settings.venue, offset)]


def _away(settings: Settings, said: str) -> Requirement:
    return Requirement(
        "venue", "bad", f"{settings.venue}: {said}", "Look at the network, DNS and HTTPS_PROXY; some venues refuse "
        f"some countries. `crypto-pipeline venues list` has others, {PREFIX}VENUE chooses one."
    )  # fmt: skip


def _clock(name: str, offset: float) -> Requirement:
    found = f"{offset:+.1f} s from the clock of {name}"
    if abs(offset) <= _CLOCK_NOTE:
        return Requirement("clock", "ok", found)
    return Requirement(
        "clock",
        "bad" if abs(offset) > _CLOCK_BAD else "note",
        found,
        "Set this machine's clock, with chrony for example.",
    )
