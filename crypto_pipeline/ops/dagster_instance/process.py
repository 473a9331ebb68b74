"""Dagster's webserver and daemon as supervised programs.

Run as ``python -m crypto_pipeline.ops.dagster_instance.process dagster-webserver …`` or ``… dagster-daemon run …``.
The programs are Dagster's own. This module adds four things. Both wait for the code server after their imports, because
a program that does not reach it shows an error and retries only after ten seconds. The webserver refuses requests from
pages of another origin. The daemon reports runs whose worker is gone, and compiles the kernels of features at its
start.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, cast

from crypto_pipeline.ops.host.memory import release_memory_regularly
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.host.processes import DEPLOYMENT
from crypto_pipeline.ops.supervision import health
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store.database.logs import quiet_drivers
from crypto_pipeline.web_guard import WebGuard, allowed_names

#: The UI starts after this long even if the definitions cannot be loaded: it shows the error.
_LONGEST_WAIT = 20.0
#: Seconds between two times that the daemon reads all definitions again, which takes a quarter of its processor time at
#: Dagster's 60. Below 300, from which on Dagster lets no reading fail.
_RELOAD_EVERY = 180


def main(name: str, arguments: list[str]) -> None:
    """Run the program called ``name`` with these arguments."""
    quiet_drivers()
    if name == "dagster-daemon":
        threading.Thread(target=_compile_kernels, name="compile-kernels", daemon=True).start()
    release_memory_regularly()
    command = _webserver() if name == "dagster-webserver" else _daemon()
    _await_code_server()
    if name == "dagster-daemon":
        threading.Thread(target=_watch_runs, name="lost-runs", daemon=True).start()
    command(args=arguments, prog_name=name)


def _webserver() -> Callable[..., object]:
    from dagster_webserver import cli

    # Dagster has no option for this, and would execute requests from pages of any origin.
    name = "create_app_from_workspace_process_context"
    settings, made = load_settings(), getattr(cli, name)
    names = allowed_names(settings.host, settings.allowed_hosts)

    def guarded(*arguments: Any, **options: Any) -> WebGuard:
        return WebGuard(made(*arguments, **options), names, graphql=True)

    setattr(cli, name, guarded)
    return cast("Callable[..., object]", cli.dagster_webserver)


def _daemon() -> Callable[..., object]:
    from dagster._daemon import controller
    from dagster._daemon.cli import create_dagster_daemon_cli

    from crypto_pipeline.ops.dagster_instance.idle_sensors import pause_idle_sensors, watched_database

    pause_idle_sensors(watched_database())
    # A code server that is started again is noticed within a second in any case (Dagster's own watch).
    controller.RELOAD_WORKSPACE_INTERVAL = _RELOAD_EVERY
    return create_dagster_daemon_cli()


def _await_code_server() -> None:
    places = Places(load_settings().data_dir)
    deadline = time.monotonic() + _LONGEST_WAIT
    while health.code_server(places) is not None and time.monotonic() < deadline:
        time.sleep(0.1)


def _compile_kernels() -> None:
    """Compile the kernels of features once per installation; later processes load them from numba's cache."""
    command = [sys.executable, "-m", "crypto_pipeline.arrays.rolling"]
    subprocess.run(["nice", "-n", "19", *command] if shutil.which("nice") else command, check=False)


def _watch_runs() -> None:
    from dagster import DagsterInstance

    from crypto_pipeline.ops.dagster_instance.lost_runs import watch

    with DagsterInstance.get() as instance:
        watch(instance, os.environ[DEPLOYMENT])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
