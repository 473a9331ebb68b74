"""``worker``: a part of live ingest on this machine, beside a deployment on another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from crypto_pipeline.cli.options import DataDir

if TYPE_CHECKING:
    from crypto_pipeline.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(worker)


def worker(data_dir: DataDir = None) -> None:
    """Ingest a part of the shards on this machine, beside an `up` or other workers on the same database.

    Give it the settings of that deployment, CRYPTO_PIPELINE_DATABASE_URL and CRYPTO_PIPELINE_INGEST_SHARDS first of
    all. Ctrl-C hands its shards over to the other workers.
    """
    import logging
    import sys

    from crypto_pipeline.settings import load_settings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    settings = load_settings(data_dir=data_dir)
    _refuse(settings)
    _run(settings)


def _refuse(settings: Settings) -> None:
    """Raise BadInput for settings with which no shard can be shared."""
    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.ingest import ingest_shards

    if settings.database_url is None:
        raise BadInput(
            "workers share a PostgreSQL server: set CRYPTO_PIPELINE_DATABASE_URL to that of the deployment, which `up` "
            "uses too"
        )
    if not ingest_shards(settings):
        raise BadInput("no venue of these settings has a stream: there is nothing to ingest")


def _run(settings: Settings) -> None:
    import signal
    import threading

    from crypto_pipeline.ops.host.paths import Places, UpLock
    from crypto_pipeline.ops.supervision.guardian import already_running
    from crypto_pipeline.ops.supervision.ingest_worker import IngestWorker, worker_name
    from crypto_pipeline.store import Store, resolve_url

    places = Places(settings.data_dir)
    places.make()
    lock = UpLock(places)
    if not lock.take():
        raise already_running(places)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with Store(resolve_url(settings), connections=2) as store:
            IngestWorker(settings, store, worker_name(places)).run(stop)
    finally:
        lock.release()
