"""A backfill of 180 days through the job `backfill_bars`: one Dagster run, and the cost of its 180 daily keys.

    python bench/one_run.py [--instruments 3] [--days 180] [--profile]

Dagster's storage is PostgreSQL, as in production; the run executes in this process. The second run over the same days
has nothing to fetch: what remains is planning, checks and Dagster's two events per asset and day. The same over one day
tells the part that the keys cost.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common import Replay, load, machine, numbers, postgres, table


def prepare(folder: Path, url: str, dagster: str, port: int, days: int) -> None:
    """Set the environment that `up` sets for its programs; call it before Dagster is imported."""
    from crypto_pipeline.ops.supervision.programs import DAGSTER_URL_VARIABLE

    os.environ |= {
        "DAGSTER_HOME": str(folder), DAGSTER_URL_VARIABLE: dagster, "DAGSTER_EVENT_BATCH_SIZE": "500",
        "DAGSTER_DISABLE_TELEMETRY": "yes", "CRYPTO_PIPELINE_DATABASE_URL": url,
        "CRYPTO_PIPELINE_REPLAY_PORT": str(port), "CRYPTO_PIPELINE_DAYS": str(days),
    }  # fmt: skip
    (folder / "dagster.yaml").write_text((Path(__file__).parent.parent / "dagster.yaml").read_text())


def run(instance: Any, start: datetime, end: datetime, profile: bool = False) -> dict[str, Any]:
    """One run over the days of ``[start, end)``."""
    from crypto_pipeline.definitions import defs
    from crypto_pipeline.defs.base.partitions import range_tags

    job = defs().resolve_job_def("backfill_bars")
    profiler = cProfile.Profile()
    begin, cpu = time.perf_counter(), time.process_time()
    if profile:
        profiler.enable()
    result = job.execute_in_process(instance=instance, tags=range_tags(start, end), raise_on_error=True)
    if profile:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("cumtime").print_stats(90)
    found = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - cpu, "load": load()}
    materialized = result.get_asset_materialization_events()
    checks = result.get_asset_check_evaluations()
    return found | {
        "keys": len({event.partition for event in materialized if event.partition}),
        "materializations": len(materialized),
        "checks": f"{sum(check.passed for check in checks)} of {len(checks)}",
    }


def measure(options: argparse.Namespace) -> None:
    from crypto_pipeline.market import choose_instruments, load_universe
    from crypto_pipeline.store import Store, migrate
    from crypto_pipeline.store.database.connect import ensure_databases

    with (
        tempfile.TemporaryDirectory(prefix="cp-home-") as home,
        postgres() as server,
        Replay(options.instruments) as replay,
    ):
        migrate(server.url())
        ensure_databases(server.url("postgres"), ["dagster"])
        dagster = server.url("dagster").replace("postgresql://", "postgresql+psycopg2://")
        prepare(Path(home), server.url(), dagster, replay.port, options.days)
        import dagster as dg

        with Store(server.url()) as store:
            store.instruments.add(choose_instruments(load_universe(), str(options.instruments)))
        now = datetime.now(UTC)
        with dg.DagsterInstance.get() as instance:
            spans = {"first": options.days, "again, nothing to fetch": options.days, "again, one day": 0}
            found = {}
            for name, days in spans.items():
                found[name] = run(instance, now - timedelta(days=days), now, options.profile)
            runs = instance.get_runs_count()
    print(f"{machine()}\n\n{options.instruments} instruments, {options.days} days; Dagster counts {runs} runs\n")
    head = ["run", "s", "CPU s of this process", "daily keys", "materializations", "checks passed", "load"]
    rows = [
        [
            name,
            f"{one['seconds']:.1f}",
            f"{one['cpu']:.1f}",
            one["keys"],
            one["materializations"],
            one["checks"],
            one["load"],
        ]
        for name, one in found.items()
    ]
    table(head, rows)


def main() -> None:
    parser = numbers(__doc__, instruments=3, days=180)
    parser.add_argument("--profile", action="store_true")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
