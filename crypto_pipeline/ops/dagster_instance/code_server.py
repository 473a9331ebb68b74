"""Dagster's code server with fast run starts: each run is forked from one process that has imported everything.

Dagster starts a new interpreter for every run, which imports Dagster and the definitions for seconds. Here Python's own
fork server (see `multiprocessing`) imports them once. The fork server never starts a thread, a query or a Polars
expression, so forked processes inherit no held lock and no open connection.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from typing import Any

from dagster._cli import ENV_PREFIX, cli
from dagster._grpc.server import DagsterApiServer

import crypto_pipeline.ops.without_pandas  # noqa: F401  (before anything that imports ADBC)
from crypto_pipeline.ops.dagster_instance.beta_warnings import ignore_beta_warnings
from crypto_pipeline.ops.host.memory import release_memory_regularly
from crypto_pipeline.store.process_store import keep_connections

#: Seconds for which a sensor waits for a database that went away: the next tick asks again.
_PATIENCE = 10.0
#: Modules that the fork server imports: those with which Dagster runs a job, and our definitions.
PRELOAD = [
    "crypto_pipeline.ops.without_pandas",
    "dagster._grpc.impl",
    "dagster._core.execution.api",
    "crypto_pipeline.ops.dagster_instance.storage",
    "crypto_pipeline.store.every_part",
    "crypto_pipeline.preloaded_definitions",
]


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
        # Started only now, because loading the definitions for the UI comes first.
        forkserver.ensure_running()

    DagsterApiServer.__init__ = forking  # type: ignore[method-assign]


if __name__ == "__main__":
    ignore_beta_warnings()
    keep_connections(_PATIENCE)
    release_memory_regularly()
    fork_runs()
    cli(auto_envvar_prefix=ENV_PREFIX)
