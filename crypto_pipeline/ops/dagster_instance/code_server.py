"""Dagster's code server with fast run starts: each run is forked from one process that has imported everything.

Dagster starts a new interpreter for every run, which imports Dagster and the definitions for seconds. Here the code
server imports them, and forks Python's own fork server (see `multiprocessing`) before it does anything else. Both share
what was imported. The fork server never starts a thread, a query or a Polars expression, so forked processes inherit no
held lock and no open connection.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import socket
from importlib import import_module
from multiprocessing import connection, forkserver
from typing import Any, NoReturn

from dagster._cli import ENV_PREFIX, cli
from dagster._grpc.server import DagsterApiServer

import crypto_pipeline.ops.without_pandas  # noqa: F401  (before anything that imports ADBC)
from crypto_pipeline.ops.dagster_instance.beta_warnings import ignore_beta_warnings
from crypto_pipeline.ops.host.memory import release_memory_regularly
from crypto_pipeline.store.process_store import keep_connections

#: Seconds for which a sensor waits for a database that went away: the next tick asks again.
_PATIENCE = 10.0
#: Modules that runs find imported: those with which Dagster runs a job, and our definitions.
PRELOAD = [
    "crypto_pipeline.ops.without_pandas",
    "dagster._grpc.impl",
    "dagster._core.execution.api",
    "dagster._core.executor.in_process",
    "dagster._core.instance.factory",
    "psycopg2",
    "upath",
    "crypto_pipeline.ops.dagster_instance.storage",
    "crypto_pipeline.store.every_part",
    "crypto_pipeline.preloaded_definitions",
]


def fork_server() -> None:
    """Import what runs need, and fork the process from which they are forked. Call it while there is one thread.

    Where the definitions cannot be imported nothing is forked: Dagster shows the error, and a fork server of its own is
    started with the first run.
    """
    try:
        for name in PRELOAD:
            import_module(name)
    except Exception:
        logging.getLogger(__name__).exception("the definitions cannot be imported")
        return
    # Pages of objects that the collector leaves alone stay shared.
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        address = connection.arbitrary_address("AF_UNIX")  # type: ignore[attr-defined]  # as Python does
        listener.bind(address)
        os.chmod(address, 0o600)  # noqa: PTH101
        listener.listen()
        alive, ours = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            _serve_forks(listener.detach(), alive)
        os.close(alive)
    server: Any = forkserver._forkserver
    server._forkserver_address, server._forkserver_alive_fd, server._forkserver_pid = address, ours, pid


def _serve_forks(listener: int, alive: int) -> NoReturn:
    """Be the fork server until the code server and all runs have ended."""
    try:
        forkserver.main(listener, alive, [])
    finally:
        os._exit(0)


def fork_runs() -> None:
    """Make the code server of this process fork its runs, once it has loaded the definitions."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    begin = DagsterApiServer.__init__

    def forking(self: DagsterApiServer, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self._mp_ctx = context  # type: ignore[assignment]  # Dagster has no option for it
        from crypto_pipeline.ops.dagster_instance.storage import keep_engines

        keep_engines()
        forkserver.ensure_running()  # where it was not forked before

    DagsterApiServer.__init__ = forking  # type: ignore[method-assign]


if __name__ == "__main__":
    ignore_beta_warnings()
    fork_server()
    keep_connections(_PATIENCE)
    release_memory_regularly()
    fork_runs()
    cli(auto_envvar_prefix=ENV_PREFIX)
