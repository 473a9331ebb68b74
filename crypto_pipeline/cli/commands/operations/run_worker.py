"""``run-worker``: take runs from redis and execute them, on this or another machine."""

from __future__ import annotations

from typing import Annotated

import typer

from crypto_pipeline.cli.options import DataDir


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("run-worker")(run_worker)


def run_worker(
    name: Annotated[
        str | None, typer.Option("--name", help="Its name: unique among all workers. [the machine's]")
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, max=256, help="Runs at a time.")] = 4,
    queue: Annotated[
        list[str] | None, typer.Option("--queue", help="What it takes: runs, ingest. [both]", metavar="QUEUE")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Execute runs that `up` on another machine hands over. Ctrl-C or SIGTERM interrupts them; others go on with them.

    It needs CRYPTO_PIPELINE_CELERY_BROKER_URL, CRYPTO_PIPELINE_DATABASE_URL and otherwise the settings of that `up`.
    """
    import socket

    from crypto_pipeline.cli.errors import BadInput
    from crypto_pipeline.ops.dagster_instance.workers.start import start_worker
    from crypto_pipeline.ops.errors import OpsError
    from crypto_pipeline.settings import load_settings

    try:
        start_worker(load_settings(data_dir=data_dir), name or socket.gethostname(), runs, queue or [])
    except OpsError as error:
        raise BadInput(str(error)) from None
