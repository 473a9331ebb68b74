"""``python -m crypto_pipeline.forecasts.stored.program``: the loop as a program of its own, where nothing is served."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from crypto_pipeline.forecasts.stored.loop import ForecastLoop
from crypto_pipeline.settings import SettingsError, load_settings
from crypto_pipeline.store import Store, resolve_url
from crypto_pipeline.store.database.logs import quiet_drivers


def main() -> int:
    """Run until a signal; return the exit code."""
    quiet_drivers()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        url = resolve_url(load_settings())
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Store(url, connections=2, patience=10.0) as store:
        ForecastLoop(store).run(stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
