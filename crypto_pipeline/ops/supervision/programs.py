"""The programs of one deployment, their commands, and the signals that stop them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crypto_pipeline.defaults import REPLAY as FIRST_REPLAY
from crypto_pipeline.defaults import SECOND_REPLAY
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.host.ports import claim_port
from crypto_pipeline.ops.host.processes import DEPLOYMENT, MARK
from crypto_pipeline.settings import PREFIX, Settings

POSTGRES = "postgres"
REPLAY = "replay"
SECOND = "replay-standby"
CODE_SERVER = "code-server"
WEBSERVER = "webserver"
DAEMON = "daemon"
API = "api"
NOTIFIER = "notifier"
FORECASTS = "forecasts"
#: Ingest has one program per shard: ingest-0, ingest-kraken-0 …, the names of their leases and heartbeats.
INGEST = "ingest-"

LOCATION = "crypto_pipeline"
DAGSTER_URL_VARIABLE = "DAGSTER_POSTGRES_URL"


@dataclass(frozen=True)
class SupervisedProgram:
    """One supervised program."""

    name: str
    command: list[str]
    #: A program that needs the database is started once the database is migrated.
    needs_database: bool = True
    #: Started as soon as the database is migrated; after a restart the other programs wait for these.
    first: bool = False
    #: Started once an instrument of this venue is collected; None: at once.
    venue: str | None = None
    #: Niceness, as of the command nice: a higher number gets less processor time on a busy machine.
    nice: int = 0
    stop_signal: str = "TERM"
    #: Whether the stop signal goes to the process group: a code server alone would wait for its runs to end.
    stop_group: bool = True
    stop_wait: int = 10


def claim_ports(settings: Settings) -> dict[str, int]:
    """A free port for each server of the deployment, by its name. OpsError names a port that is taken."""
    from crypto_pipeline.venues import collected_venues

    try:
        venues = collected_venues(settings)
    except ValueError as error:
        raise OpsError(str(error)) from None
    host = settings.host
    ports = {"ui": claim_port(host, settings.ui_port, "the Dagster UI", "--ui-port")}
    if settings.api:
        ports[API] = claim_port(host, settings.api_port, "the HTTP reads", "--api-port")
    if FIRST_REPLAY in venues or replays_others(settings, venues):
        ports[REPLAY] = claim_port(host, settings.replay_port, "the replay exchange", "--replay-port")
    if SECOND_REPLAY in venues:
        option = f"{PREFIX}REPLAY_STANDBY_PORT"
        ports[SECOND] = claim_port(host, settings.replay_standby_port, "the second replay exchange", option)
    return ports


def replays_others(settings: Settings, venues: Collection[str]) -> bool:
    """Whether the first replay exchange is needed for what it serves beside its own market."""
    massive = settings.massive_source == "replay" and any(each.startswith("massive") for each in venues)
    return massive or (settings.macro_source == "replay" and settings.macro_series is not None)


def programs(settings: Settings, places: Places, ports: Mapping[str, int]) -> list[SupervisedProgram]:
    """The programs of a deployment with these settings; ``ports`` has that of each server there is to be, by name."""
    ours = [sys.executable, "-m", "crypto_pipeline.cli"]
    found = []
    if settings.database_url is None:
        # SIGINT is PostgreSQL's fast shutdown; only the postmaster may signal its children.
        postgres = [*ours, "_postgres"]
        found.append(
            SupervisedProgram(POSTGRES, postgres, False, True, stop_signal="INT", stop_group=False, stop_wait=60)
        )
    for name, venue, seed in ((REPLAY, "replay", 0), (SECOND, SECOND_REPLAY, 1)):
        if name in ports:
            chosen = ["--port", str(ports[name]), "--lists", venue, "--seed", str(settings.replay_seed + seed)]
            found.append(SupervisedProgram(name, [*ours, "replay", "serve", *chosen], False, True))
    if settings.ingest and not settings.ingest_by_runs:
        from crypto_pipeline.ingest.shards import ingest_shards
        from crypto_pipeline.venues import collected_venues

        several = len(collected_venues(settings)) > 1
        ingest = [sys.executable, "-m", "crypto_pipeline.cli.ingest_program"]
        for shard in ingest_shards(settings):
            chosen = ["--venue", shard.venue, "--shard", str(shard.number), "--shards", str(shard.count)]
            needs = shard.venue if several else None
            found.append(SupervisedProgram(shard.name, [*ingest, *chosen], first=True, venue=needs, stop_wait=15))
    socket = str(places.socket(CODE_SERVER))
    grpc = [sys.executable, "-m", "crypto_pipeline.ops.dagster_instance.code_server", "api", "grpc", "--socket", socket]
    module = ["-m", "crypto_pipeline.definitions", "--location-name", LOCATION, "--use-python-environment-entry-point"]
    # Runs inherit the niceness of the code server, so that they do not delay live bars.
    found.append(SupervisedProgram(CODE_SERVER, [*grpc, *module], needs_database=False, nice=10))
    where = ["-w", str(places.workspace)]
    serve = ["-h", settings.host, "-p", str(ports["ui"])]
    dagster = [sys.executable, "-m", "crypto_pipeline.ops.dagster_instance.process"]
    found.append(SupervisedProgram(WEBSERVER, [*dagster, "dagster-webserver", *where, *serve], nice=5))
    found.append(SupervisedProgram(DAEMON, [*dagster, "dagster-daemon", "run", *where], nice=5))
    return found + _beside_dagster(settings, ports, ours)


def _beside_dagster(settings: Settings, ports: Mapping[str, int], ours: list[str]) -> list[SupervisedProgram]:
    """The programs that serve reads, publish forecasts and send alerts. ``ours``: the beginning of our commands."""
    found = []
    if API in ports:
        found.append(SupervisedProgram(API, [*ours, "_api", "--port", str(ports[API])], nice=5))
    if settings.forecasts and not settings.api:  # where reads are served, that program keeps forecasts fresh
        loop = [sys.executable, "-m", "crypto_pipeline.forecasts.stored.program"]
        found.append(SupervisedProgram(FORECASTS, loop, nice=5))
    if settings.notifier:
        notifier = [sys.executable, "-m", "crypto_pipeline.ops.alerting.notifier"]
        found.append(SupervisedProgram(NOTIFIER, notifier, nice=5, stop_wait=20))
    return found


#: Settings that are passed in other ways: secrets, in the environment alone, and the data directory.
_SECRET = {name for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)}
_NOT_GIVEN = {"data_dir", *_SECRET}


def given_settings(settings: Settings) -> dict[str, Any]:
    """Settings given on the command line, in the environment or in a file, without secrets."""
    given = settings.model_dump(mode="json", exclude_unset=True, exclude=_NOT_GIVEN)
    return {name: value for name, value in given.items() if value is not None}


def _as_text(value: Any) -> str:
    """A setting as its variable has it: tables are JSON."""
    return json.dumps(value) if isinstance(value, dict) else str(value)


def environment(settings: Settings, places: Places, given: dict[str, Any], dagster_url: str) -> dict[str, str]:
    """Environment of every program: this process's, Dagster's variables, and the given settings.

    URLs with passwords are passed only in the environment.
    """
    found = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")}
    found |= {f"{PREFIX}{name.upper()}": _as_text(value) for name, value in given.items()}
    found |= {
        MARK: str(places.data_dir),
        DEPLOYMENT: places.deployment(),
        f"{PREFIX}DATA_DIR": str(settings.data_dir),
        "DAGSTER_HOME": str(places.dagster_home),
        DAGSTER_URL_VARIABLE: dagster_url,
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        # A run over many days writes two events per asset and day: batches save one transaction per event.
        "DAGSTER_EVENT_BATCH_SIZE": os.environ.get("DAGSTER_EVENT_BATCH_SIZE", "500"),
        # On a busy machine a code server may take longer to start a run than Dagster's default limit of a minute.
        "DAGSTER_GRPC_TIMEOUT_SECONDS": os.environ.get("DAGSTER_GRPC_TIMEOUT_SECONDS", "180"),
        "PYTHONUNBUFFERED": "1",
        # glibc would give each of eight threads and more a heap of its own, and keep what one of them has freed.
        "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
    if settings.celery_broker_url is not None:  # a run that lost its worker is asked for again at once
        found["DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS"] = "1"
    return found


def tied_to_parent(program: SupervisedProgram) -> list[str]:
    """The command with its niceness, wrapped by setpriv so that the program ends together with supervisord.

    Without setpriv on the machine, the supervising process ends the programs that a killed supervisord leaves behind.
    """
    command = program.command
    if program.nice and (nice := shutil.which("nice")) is not None:
        command = [nice, "-n", str(program.nice), *command]
    setpriv = shutil.which("setpriv")
    if setpriv is None or program.name == POSTGRES:  # PostgreSQL sets its own signal for the end of its parent
        return command
    return [setpriv, "--pdeathsig", "KILL", *command]
