"""``python -m crypto_pipeline.ingest``: one shard of ingest as a program of its own; SIGTERM ends it well."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys

from crypto_pipeline.ingest.run import run_ingest
from crypto_pipeline.ingest.shards import ingest_shard
from crypto_pipeline.settings import SettingsError, load_settings
from crypto_pipeline.store import StoreError
from crypto_pipeline.store.database.logs import quiet_drivers


async def _run(number: int, count: int | None, venue: str | None) -> str:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for end in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(end, stop.set)
    settings = load_settings()
    shard = ingest_shard(settings, number, count or settings.ingest_shards, venue)
    return await run_ingest(
        settings.at(shard.venue, first=shard.first), shard.number, shard.count, stop, name=shard.name
    )


def main() -> int:
    """Parse the arguments and run; an error is one line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m crypto_pipeline.ingest", description=__doc__)
    parser.add_argument("--shard", type=int, default=0, help="which part of the instruments, from 0")
    parser.add_argument("--shards", type=int, help="how many parts there are; default: the setting ingest_shards")
    parser.add_argument("--venue", help="whose instruments; default: the first venue of the deployment")
    given = parser.parse_args()
    quiet_drivers()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it says every request at INFO
    try:
        print(asyncio.run(_run(given.shard, given.shards, given.venue)), flush=True)
    except (StoreError, SettingsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
