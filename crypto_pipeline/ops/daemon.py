"""Dagster's daemon as we supervise it: the same program, and beside it the watch for runs whose worker is gone.

Run as ``python -m crypto_pipeline.ops.daemon dagster-daemon run -w WORKSPACE``.
"""

from __future__ import annotations

import sys
import threading


def _watch_runs() -> None:
    from dagster import DagsterInstance

    from crypto_pipeline.ops.runs import watch

    with DagsterInstance.get() as instance:
        watch(instance)


def main(arguments: list[str]) -> None:
    """Run ``dagster-daemon`` with these arguments."""
    from dagster._daemon.cli import create_dagster_daemon_cli

    threading.Thread(target=_watch_runs, name="lost-runs", daemon=True).start()
    create_dagster_daemon_cli()(args=arguments, prog_name="dagster-daemon")


if __name__ == "__main__":
    main(sys.argv[2:])
