"""The programs of one deployment, their commands, and the signals that stop them."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.host.processes import DEPLOYMENT, MARK
from crypto_pipeline.settings import PREFIX, Settings
from crypto_pipeline.venue_names import has_stream

POSTGRES = "postgres"
REPLAY = "replay"
CODE_SERVER = "code-server"
WEBSERVER = "webserver"
DAEMON = "daemon"
API = "api"
#: Ingest has one program per shard: ingest-0, ingest-1 …, the names of their leases and heartbeats.
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
    #: Niceness, as of the command nice: a higher number gets less processor time on a busy machine.
    nice: int = 0
    stop_signal: str = "TERM"
    #: Whether the stop signal goes to the process group: a code server alone would wait for its runs to end.
    stop_group: bool = True
    stop_wait: int = 10


def programs(
    settings: Settings, places: Places, ui_port: int, replay_port: int | None, api_port: int | None = None
) -> list[SupervisedProgram]:
    """The programs of a deployment with these settings."""
    ours = [sys.executable, "-m", "crypto_pipeline.cli"]
    found = []
    if settings.database_url is None:
        # SIGINT is PostgreSQL's fast shutdown; only the postmaster may signal its children.
        postgres = [*ours, "_postgres"]
        found.append(
            SupervisedProgram(POSTGRES, postgres, False, True, stop_signal="INT", stop_group=False, stop_wait=60)
        )
    if replay_port is not None:
        found.append(SupervisedProgram(REPLAY, [*ours, "replay", "serve", "--port", str(replay_port)], False, True))
    if settings.ingest and has_stream(settings.venue):
        ingest = [sys.executable, "-m", "crypto_pipeline.cli.ingest_program", "--shards", str(settings.ingest_shards)]
        for shard in range(settings.ingest_shards):
            found.append(
                SupervisedProgram(f"{INGEST}{shard}", [*ingest, "--shard", str(shard)], first=True, stop_wait=15)
            )
    socket = str(places.socket(CODE_SERVER))
    grpc = [sys.executable, "-m", "crypto_pipeline.ops.dagster_instance.code_server", "api", "grpc", "--socket", socket]
    module = ["-m", "crypto_pipeline.definitions", "--location-name", LOCATION, "--use-python-environment-entry-point"]
    # Runs inherit the niceness of the code server, so that they do not delay live bars.
    found.append(SupervisedProgram(CODE_SERVER, [*grpc, *module], needs_database=False, nice=10))
    where = ["-w", str(places.workspace)]
    serve = ["-h", settings.host, "-p", str(ui_port)]
    dagster = [sys.executable, "-m", "crypto_pipeline.ops.dagster_instance.process"]
    found.append(SupervisedProgram(WEBSERVER, [*dagster, "dagster-webserver", *where, *serve], nice=5))
    found.append(SupervisedProgram(DAEMON, [*dagster, "dagster-daemon", "run", *where], nice=5))
    if api_port is not None:
        found.append(SupervisedProgram(API, [*ours, "_api", "--port", str(api_port)], nice=5))
    return found


#: Settings that are passed in other ways: secrets, and the data directory.
_NOT_GIVEN = {"data_dir", "database_url", "dagster_database_url", "api_token", "replay_token", "fred_api_key"}


def given_settings(settings: Settings) -> dict[str, Any]:
    """Settings given on the command line, in the environment or in a file, without secrets."""
    given = settings.model_dump(mode="json", exclude_unset=True, exclude=_NOT_GIVEN)
    return {name: value for name, value in given.items() if value is not None}


def environment(settings: Settings, places: Places, given: dict[str, Any], dagster_url: str) -> dict[str, str]:
    """Environment of every program: this process's, Dagster's variables, and the given settings.

    URLs with passwords are passed only in the environment.
    """
    found = {name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")}
    found |= {f"{PREFIX}{name.upper()}": str(value) for name, value in given.items()}
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
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
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
