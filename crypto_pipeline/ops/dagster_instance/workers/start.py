"""Starts a worker: its settings are looked at, its folder is made, and this process becomes the worker."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from crypto_pipeline.ops.dagster_instance.workers.configuration import INGEST, RUNS
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host.extras import require_celery
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.host.processes import MARK
from crypto_pipeline.ops.supervision.dagster_home import write_dagster_home
from crypto_pipeline.ops.supervision.programs import environment, given_settings
from crypto_pipeline.settings import Settings
from crypto_pipeline.store.database_url import dagster_url, resolve_url

_MODULE = "crypto_pipeline.ops.dagster_instance.workers.program"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")


def start_worker(settings: Settings, name: str, runs: int, queues: Sequence[str]) -> NoReturn:
    """Become the worker ``name`` with ``runs`` slots for runs of ``queues``. Raises OpsError and StoreError."""
    command, variables = worker_command(settings, name, runs, queues)
    os.execve(command[0], command, variables)  # noqa: S606


def worker_command(settings: Settings, name: str, runs: int, queues: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a worker. Raises OpsError for what is missing, StoreError without a database."""
    if settings.celery_broker_url is None:
        raise OpsError("set CRYPTO_PIPELINE_CELERY_BROKER_URL to the redis that hands out runs: redis://host:6379/0")
    require_celery()
    if _NAME.fullmatch(name) is None:
        raise OpsError(f"{name!r} is no name of a worker: use letters, figures, dots, dashes and underscores")
    if unknown := [queue for queue in queues if queue not in (RUNS, INGEST)]:
        raise OpsError(f"{unknown[0]!r} is no queue: use {RUNS} or {INGEST}")
    url = resolve_url(settings)
    places = Places(settings.data_dir)
    places.make()
    write_dagster_home(places, handed_over=True)
    found = environment(settings, places, given_settings(settings), dagster_url(settings, url))
    found.pop(MARK)  # `up` of this data directory neither started it nor ends it
    return [sys.executable, "-m", _MODULE, name, str(runs), ",".join(queues or (RUNS, INGEST))], found
