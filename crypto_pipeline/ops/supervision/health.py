"""Health of each program, from its own answer: a running process may still not work."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from crypto_pipeline.ops.host.paths import Places, UpState
from crypto_pipeline.ops.host.processes import Identity, is_alive
from crypto_pipeline.ops.supervision.programs import (
    API,
    CODE_SERVER,
    DAEMON,
    INGEST,
    LOCATION,
    POSTGRES,
    REPLAY,
    SECOND,
    WEBSERVER,
)
from crypto_pipeline.ops.supervision.supervisord import ProcessInfo, Supervisord
from crypto_pipeline.settings import Settings

if TYPE_CHECKING:
    from crypto_pipeline.store import Heartbeat

_TIMEOUT = 5.0
#: Seconds after which a heartbeat of ingest means that its holder has ended or hangs.
STALE = 20.0
#: The venue is not a program but must answer as well. It is asked this often while ingest gets nothing from it.
VENUE = "venue"
_VENUE_EVERY = 30.0
_asked: dict[str, tuple[float, str | None]] = {}
#: Start of the message about ingest without a heartbeat: such a process is killed soon, so that another can take over.
NO_HEARTBEAT = "no heartbeat"
_QUERY = """{
  workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError {
    __typename ... on PythonError { message } } } } }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy lastHeartbeatTime } } }
}"""


@dataclass(frozen=True)
class HealthReport:
    """Result of one check of all programs. ``troubles``: program → why it is not healthy."""

    processes: list[ProcessInfo] = field(default_factory=list)
    troubles: dict[str, str] = field(default_factory=dict)
    supervisord: bool = False
    #: Notes about healthy programs, by name: which other process works on the database.
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether all programs run and answer."""
        return self.supervisord and not self.troubles

    def is_healthy(self, name: str) -> bool:
        """Whether this program runs and answers."""
        return self.supervisord and name not in self.troubles


def ask(settings: Settings, places: Places, state: UpState) -> HealthReport:
    """Ask every program once; ingest that is not started, because its venue has no instrument, is no program."""
    try:
        found = Supervisord(state.supervisor_socket).processes()
    except ConnectionError as error:
        return HealthReport(troubles={"supervisord": str(error)})
    without = {info.name for info in found if _is_not_started(info)}
    found = [info for info in found if info.name not in without]
    troubles = {info.name: f"{info.state.lower()}: {info.detail}" for info in found if not info.running}
    # supervisord may not have noticed yet.
    troubles |= {info.name: "just died" for info in found if info.pid is not None and not is_alive(info.pid)}
    if settings.database_url is not None and (trouble := _database(settings)):
        troubles["database"] = trouble
    pages = _ui(state)
    for info in found:
        if info.name not in troubles and (trouble := _trouble(info, settings, places, state, pages)):
            troubles[info.name] = trouble
    beats, said = _beats(settings, found)
    troubles |= {name: trouble for name, trouble in said.items() if name not in troubles}
    if POSTGRES not in troubles and (trouble := _venues(settings, beats, without)):
        troubles[VENUE] = trouble
    notes = _stands_by(found, beats) | dict.fromkeys(without, "is not started: no instrument of its venue is collected")
    return HealthReport(found, troubles, supervisord=True, notes=notes)


def crowding() -> float:
    """How many processes compete for each processor now, at least 1. Time limits are multiplied by it."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def ask_ingest(settings: Settings, found: list[ProcessInfo]) -> dict[str, str]:
    """Troubles of the ingest programs by name, from the heartbeat rows of their shards."""
    return _beats(settings, [info for info in found if not _is_not_started(info)])[1]


def _is_not_started(info: ProcessInfo) -> bool:
    """Whether it is ingest that the guardian has not started."""
    return info.name.startswith(INGEST) and info.state == "STOPPED"


def _beats(settings: Settings, found: list[ProcessInfo]) -> tuple[dict[str, Heartbeat], dict[str, str]]:
    programs = [info for info in found if info.name.startswith(INGEST)]
    if not programs:
        return {}, {}
    from crypto_pipeline.store.coordination.heartbeats import read_heartbeats
    from crypto_pipeline.store.database.errors import StoreError
    from crypto_pipeline.store.database_url import resolve_url

    try:
        beats = {beat.name: beat for beat in read_heartbeats(resolve_url(settings), f"{INGEST}%")}
    except StoreError as error:
        return {}, {info.name: f"cannot be judged: {error}" for info in programs}
    said = {info.name: _ingest(info, beats.get(info.name)) for info in programs}
    return beats, {name: trouble for name, trouble in said.items() if trouble is not None}


def _ingest(info: ProcessInfo, beat: Heartbeat | None) -> str | None:
    if beat is None:
        return "starting"
    mine = beat.detail.get("pid") == info.pid and f":{info.pid}:" in beat.holder
    if beat.age >= STALE:
        return f"{NO_HEARTBEAT} for {beat.age:.0f} s" if mine else "starting"
    return None if mine or not _is_dead(beat.holder) else "starting"


def _stands_by(found: list[ProcessInfo], beats: dict[str, Heartbeat]) -> dict[str, str]:
    """Our ingest programs that wait because another process holds their shard, with the name of that process."""
    notes = {}
    for info in found:
        beat = beats.get(info.name)
        if beat is None or beat.age >= STALE or beat.detail.get("pid") == info.pid or _is_dead(beat.holder):
            continue
        try:
            process = Identity.parse(beat.holder.rpartition(":")[0])
            who = f"process {process.pid} on {process.host}, of another deployment on this database,"
        except ValueError:  # a run of Dagster
            who = f"run {beat.holder}"
        notes[info.name] = f"stands by, because {who} ingests; it takes over when that one ends"
    return notes


def _venues(settings: Settings, beats: dict[str, Heartbeat], without: set[str]) -> str | None:
    """None when every venue answers; those whose ingest, ``without`` instruments, is not started are not asked."""
    from crypto_pipeline.ingest.shards import ingest_shards
    from crypto_pipeline.venues import collected_venues

    idle = {shard.venue for shard in ingest_shards(settings) if shard.name in without} if without else set()
    found = [_venue(settings.at(venue), beats) for venue in collected_venues(settings) if venue not in idle]
    return "; ".join(filter(None, found)) or None


def _venue(settings: Settings, beats: dict[str, Heartbeat]) -> str | None:
    """None when the venue answers: ingest receives from it, or a request for its time succeeds."""
    if any(
        beat.age < STALE
        and beat.detail.get("state") in ("live", "rotating")
        and beat.detail.get("links")
        and beat.detail.get("venue") == settings.venue
        for beat in beats.values()
    ):
        return None
    where = f"{settings.venue} {settings.host} {settings.replay_port}"
    now = time.monotonic()
    asked, trouble = _asked.get(where, (-_VENUE_EVERY, None))
    if now - asked >= (_VENUE_EVERY if trouble is None else _TIMEOUT):
        with ThreadPoolExecutor(1) as executor:  # the caller may have an event loop of its own
            trouble = executor.submit(asyncio.run, _ask_venue(settings)).result()
        _asked[where] = now, trouble
    return trouble


async def _ask_venue(settings: Settings) -> str | None:
    from crypto_pipeline.venues import VenueError, make_venue

    once = settings.model_copy(update={"request_timeout": _TIMEOUT, "request_attempts": 1})
    venue = make_venue(once)
    try:
        await venue.server_time()
    except VenueError as error:
        return f"{settings.venue} cannot be reached: {error}"
    finally:
        await venue.close()
    return None


def _is_dead(holder: str) -> bool:
    """Whether the process that held a shard is known to be gone; False for processes of other machines."""
    try:
        process = Identity.parse(holder.rpartition(":")[0])
    except ValueError:
        return False
    return (process.host, process.boot) == Identity.machine() and not process.lives()


def _trouble(
    info: ProcessInfo, settings: Settings, places: Places, state: UpState, ui: dict[str, Any] | str
) -> str | None:
    match info.name:
        case name if name == POSTGRES:
            return _postgres(settings)
        case name if name in (REPLAY, SECOND):
            return _answers(state.urls[name] + "/api/v3/ping")
        case name if name == API:
            return _answers(state.urls["api"] + "/health/simple")
        case name if name == CODE_SERVER:
            return code_server(places)
        case name if name == WEBSERVER:
            return ui if isinstance(ui, str) else _location(ui)
        case name if name == DAEMON:
            # The daemon's state is read through the UI; without it, the running process is all we know.
            return None if isinstance(ui, str) else _daemon(ui, info)
    return None


def _postgres(settings: Settings) -> str | None:
    from crypto_pipeline.store.embedded.server import EmbeddedServer

    return None if EmbeddedServer(settings.data_dir).is_alive() else "does not accept connections"


def _database(settings: Settings) -> str | None:
    from crypto_pipeline.store.database.errors import StoreError
    from crypto_pipeline.store.database_url import resolve_url

    try:
        resolve_url(settings)
    except StoreError as error:
        return str(error)
    return None


def code_server(places: Places) -> str | None:
    """None when the code server serves, else what is wrong."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"unix:{places.socket(CODE_SERVER)}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="DagsterApi"), timeout=_TIMEOUT
            )
        except grpc.RpcError as error:
            return f"does not answer: {error.code().name.lower()}"
    return None if answer.status == health_pb2.HealthCheckResponse.SERVING else "loads the definitions"


def _ui(state: UpState) -> dict[str, Any] | str:
    try:
        status, body = request("POST", state.urls["ui"] + "/graphql", {"query": _QUERY})
        return dict(json.loads(body)["data"]) if status == 200 else f"answers with status {status}"
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        return f"does not answer: {error}"


def _location(ui: dict[str, Any]) -> str | None:
    for entry in ui["workspaceOrError"].get("locationEntries", []):
        if entry["name"] == LOCATION:
            if entry["loadStatus"] != "LOADED":
                return "loads the definitions"
            found = entry["locationOrLoadError"]
            if found["__typename"] == "PythonError" and "UserCodeUnreachable" in found["message"]:
                return "waits for the code server"
            if found["__typename"] == "PythonError":
                return f"cannot load the definitions: {found['message'].strip().splitlines()[0]}"
            return None
    return "does not know our definitions yet"


def _daemon(ui: dict[str, Any], info: ProcessInfo) -> str | None:
    since = info.started_at or 0.0
    for status in ui["instance"]["daemonHealth"]["allDaemonStatuses"]:
        if status["required"] and (status["lastHeartbeatTime"] or 0.0) < since:
            return f"{status['daemonType'].lower()} has not reported yet"
        if status["required"] and not status["healthy"]:
            return f"{status['daemonType'].lower()} reports errors or is late"
    return None


def _answers(url: str) -> str | None:
    try:
        status, _ = request("GET", url)
    except (OSError, http.client.HTTPException) as error:
        return f"does not answer: {error}"
    return None if status == 200 else f"answers with status {status}"


def request(
    method: str, url: str, body: Any = None, timeout: float = _TIMEOUT, *, token: str | None = None
) -> tuple[int, bytes]:
    """Send one HTTP request with the standard library; return status and body. ``timeout`` is in seconds.

    Raises OSError or HTTPException when there is no answer.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)
    try:
        payload = None if body is None else json.dumps(body).encode()
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {"Content-Type": "application/json"} if payload else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection.request(method, path or "/", payload, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
