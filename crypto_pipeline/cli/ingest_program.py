"""``python -m crypto_pipeline.cli.ingest_program``: one shard of live ingest as a program that `up` supervises.

It ingests at once and becomes a run of Dagster afterwards. Heavy packages are imported once ingest is live. Started by
``crypto-pipeline worker`` (with ``--worker``) it is no run, and ends when it has handed over to another worker.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import threading

import crypto_pipeline.ops.without_pandas  # noqa: F401  (before anything that imports ADBC)
from crypto_pipeline.ingest import ingest_shard, run_ingest
from crypto_pipeline.ingest.workers.membership import Rebalancing, Workers
from crypto_pipeline.ops.host.memory import release_memory_regularly
from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.ops.supervision.ingest_process import IngestProcess, LateMinuteWork, LineQueueHandler, offer
from crypto_pipeline.ops.supervision.ingest_worker import worker_name
from crypto_pipeline.settings import Settings, SettingsError, load_settings
from crypto_pipeline.store import Store, StoreError, resolve_url
from crypto_pipeline.store.database.logs import quiet_drivers

log = logging.getLogger(__name__)

#: Seconds of pause after a term that was handed over or lost; then this process stands by.
_AGAIN = 1.0


async def ingest(here: IngestProcess, *, again: bool) -> None:
    """Ingest or stand by, in turn, until a signal ends the process; not ``again``: until it has handed over."""
    shard, given = here.shard, load_settings()
    settings = given.at(shard.venue, first=shard.first)
    stop = asyncio.Event()
    here.bind(stop)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    after_minute = LateMinuteWork(settings, here.duty.live)
    sharing = threading.Thread(target=_share, args=[here, given], kwargs={"beats": again}, daemon=True)
    sharing.start()
    while not stop.is_set():
        why = await run_ingest(
            settings,
            shard.number,
            shard.count,
            stop,
            here.report,
            after_minute,
            holder=here.holder,
            duty=here.duty,
            name=shard.name,
        )
        if not again:
            return
        if why != "stopped":
            log.warning("%s: %s; standing by", shard.name, why)
            await asyncio.sleep(_AGAIN)


def _share(here: IngestProcess, settings: Settings, *, beats: bool) -> None:
    """Share the shards with the other workers of the deployment until this process ends."""
    assert here.duty.worker is not None
    while not here.ended.wait(_AGAIN):
        try:
            url = resolve_url(settings)
        except StoreError as error:  # ingest says the same, and may end for it
            log.info("%s", error)
            continue
        with Store(url, connections=1) as store:
            workers = Workers(settings, store, here.duty.worker)
            Rebalancing(workers, here.shard.name, here.duty).repeat(here.ended, beats=beats)


def _show_in_dagster(here: IngestProcess) -> None:
    here.duty.live.wait()
    import dagster as dg

    from crypto_pipeline.defs.base.resources import shared
    from crypto_pipeline.defs.live.ingest_run import JOB, keep_run
    from crypto_pipeline.defs.live.live_ingest import live_ingest
    from crypto_pipeline.ops.dagster_instance.beta_warnings import ignore_beta_warnings

    ignore_beta_warnings()
    # This job alone: all definitions would take 12 MB.
    keep_run(here, dg.Definitions.merge(dg.Definitions(jobs=[live_ingest]), shared()).resolve_job_def(JOB))


def _begin_to_show(here: IngestProcess) -> threading.Thread:
    """Begin the thread that shows ``here`` as runs of Dagster."""
    offer(here)
    logging.getLogger("crypto_pipeline").addHandler(LineQueueHandler(here.lines))
    thread = threading.Thread(target=_show_in_dagster, args=[here], name="dagster-run", daemon=True)
    thread.start()
    return thread


def main() -> int:
    """Run until a signal; return the exit code. An error is logged in one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--venue", required=True)
    parser.add_argument("--worker", help="name of the `crypto-pipeline worker` that starts it")
    given = parser.parse_args()
    quiet_drivers()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request at INFO
    try:
        settings = load_settings()
        worker = given.worker or worker_name(Places(settings.data_dir))
        here = IngestProcess(ingest_shard(settings, given.shard, given.shards, given.venue), worker)
    except (SettingsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    release_memory_regularly()
    shown_run = None if given.worker else _begin_to_show(here)
    try:
        asyncio.run(ingest(here, again=given.worker is None))
    except (StoreError, SettingsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        here.ended.set()
        if shown_run is not None and here.duty.live.is_set():
            shown_run.join(10)  # it ends its run
    return 0


if __name__ == "__main__":
    sys.exit(main())
