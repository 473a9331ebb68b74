"""Fitting in a process of its own: what reading months of bars loads into memory, a long-lived program would keep."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime

from crypto_pipeline.forecasts.horizons import ForecastHorizon
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.sessions.pooler import DatabaseUrl

log = logging.getLogger(__name__)

#: Seconds after which a fit is given up.
_LONGEST = 600.0


def fit_apart(store: Store, horizon: ForecastHorizon, names: Sequence[str], now: datetime) -> None:
    """Fit instruments without exponential smoothing in a child process, and wait for it; a failure is logged.

    The child gets the URL, which may have a password, by its standard input.
    """
    asked = {
        "url": str(store.url), "direct": getattr(store.url, "direct", None), "horizon": str(horizon),
        "names": list(names), "now": now.isoformat(),
    }  # fmt: skip
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(
            command, input=json.dumps(asked), text=True, capture_output=True, timeout=_LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        log.warning("the fit of %d series for %s took longer than %g s", len(names), horizon, _LONGEST)
        return
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        log.warning("the fit of %d series for %s failed: %s", len(names), horizon, said[0])


def main() -> int:
    """Fit what standard input asks for; return the exit code."""
    from crypto_pipeline.forecasts.stored.fit import fit_stored

    asked = json.load(sys.stdin)
    url = asked["url"] if asked["direct"] is None else DatabaseUrl(asked["url"], asked["direct"])
    with Store(url, connections=2) as store:
        horizon, now = ForecastHorizon.parse(asked["horizon"]), datetime.fromisoformat(asked["now"])
        fit_stored(store, [horizon], asked["names"], now, smoothing=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
