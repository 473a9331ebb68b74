"""``python -m crypto_pipeline.ops.start_program``: what a start needs the whole store for.

``supervision.start.worker`` is the side of its parent.

It imports the store while PostgreSQL starts, does what the lines of its input ask for, and answers in lines of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from typing import Any

import crypto_pipeline.ops.without_pandas
import crypto_pipeline.store.every_part  # noqa: F401  (what it does is quick then)
from crypto_pipeline.ops.errors import OpsError
from crypto_pipeline.ops.host import processes
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.status import Stored
from crypto_pipeline.ops.supervision.start.database import make_ready
from crypto_pipeline.ops.supervision.start.worker import FOLLOW, PREPARE, StartProgress
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.database_url import resolve_url

#: Seconds between two looks at the progress.
_LOOK_EVERY = 1.0


def _tell(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _prepare() -> None:
    settings = load_settings()
    try:
        make_ready(
            settings,
            Places(settings.data_dir),
            resolve_url(settings),
            dict(os.environ),
            lambda text: _tell(say=text),
            lambda: _tell(migrated=True),
        )
    except (OpsError, StoreError) as error:
        _tell(error=str(error), kind="OpsError" if isinstance(error, OpsError) else "StoreError")
    else:
        _tell(done=True)


def _follow() -> None:
    complete, settings = False, load_settings()
    with Store(resolve_url(settings)) as store:
        while not complete:
            time.sleep(_LOOK_EVERY)
            try:
                seen = progress_of(Stored.read(store, settings))
            except StoreError as error:
                _tell(error=str(error))
                continue
            complete = seen.complete
            _tell(**asdict(seen))


def progress_of(stored: Stored) -> StartProgress:
    """What ``stored`` says of the progress."""
    counted = ("present", "explained", "expected")
    bars = {name: {key: row[key] for key in counted} for name, row in stored.timeframes.items()}
    return StartProgress(
        bars,
        stored.accounted,
        stored.expected,
        stored.checks_passed,
        stored.checks_wanted,
        stored.complete,
        stored.checks_said,
    )


def main() -> None:
    """Do what each line of the input asks for, until the input or the parent ends."""
    processes.die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    works = {PREPARE: _prepare, FOLLOW: _follow}
    for line in sys.stdin:
        works[line.strip()]()


if __name__ == "__main__":
    main()
