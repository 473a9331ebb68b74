"""The longest statement of every kind of bulk work on a store of 51 million bars, through pgbouncer.

    python bench/long_statements.py COPY [--only views,backup]

COPY is a copy of a folder of ``big_store.py`` (retention moves its rows into an archive). The statements go through
pgbouncer in transaction mode (pool of 5) as a role with ``statement_timeout = 120 s``, so a longer one fails. Times are
``max_exec_time`` of pg_stat_statements, reset before each kind of work.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from common import machine, table

from crypto_pipeline.features.stored import update as features
from crypto_pipeline.healing.checks import stored_bars
from crypto_pipeline.healing.checks.freshness import Thresholds
from crypto_pipeline.healing.plan import Horizon, retention_policy
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.stored import update as labels
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.backups import backup
from crypto_pipeline.ops.backups.restore import restore
from crypto_pipeline.ops.housekeeping import retention, storage_report, table_proofs
from crypto_pipeline.reading import Reader
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import EmbeddedServer, Store, migrate
from crypto_pipeline.store.archive import restore as archive_restore
from crypto_pipeline.store.archive.catalogue import find
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.store.operations.fingerprints import frozen
from crypto_pipeline.store.views.views import VIEWS
from crypto_pipeline_tests.builders import pgbouncer

_LONGEST = """
SELECT max_exec_time / 1000, calls, regexp_replace(query, '\\s+', ' ', 'g') FROM pg_stat_statements
WHERE query NOT LIKE '%pg_stat_statements%' ORDER BY 1 DESC LIMIT 3
"""


class Bench:
    def __init__(self, store: Store, url: str, admin: str, settings: Settings, work: Path) -> None:
        self.store, self.url, self.admin, self.settings, self.work = store, url, admin, settings, work
        self.rows: list[list[object]] = []
        self.names = sorted(store.instruments.ids())

    def measure(self, name: str, operation: Callable[[], Any]) -> None:
        """Run one kind of work and note its longest statements."""
        with connect(self.admin) as connection:
            connection.execute("SELECT pg_stat_statements_reset()")
        began, failed = time.monotonic(), ""
        try:
            operation()
        except Exception as error:
            failed = f"FAILED: {str(error)[:150]}"
        took = time.monotonic() - began
        with connect(self.admin) as connection:
            longest = connection.execute(_LONGEST).fetchall()
        for number, (seconds, calls, query) in enumerate(longest):
            shown = re.sub(r"[|`]", " ", query)[:90]
            row = [name, f"{took:.1f}"] if not number else ["", ""]
            self.rows.append([*row, f"{seconds:.2f}", calls, f"`{shown}`"])
        print(f"{name}: {took:.1f} s, longest statement {longest[0][0] if longest else 0:.2f} s {failed}", flush=True)
        for seconds, _, query in longest:
            print(f"    {seconds:.2f} s: {query[:200]}", flush=True)

    # -- kinds of work --------------------------------------------------------------------------------------------

    def views(self) -> None:
        for view in VIEWS:
            self.store.views.refresh(view)
        for view in VIEWS:
            self.store.views.differences(view)

    def proofs(self) -> None:
        table_proofs.prove_tables(self.store, self.settings, rows=10**9)

    def frozen(self) -> None:
        with frozen(self.url) as moment:
            moment.fingerprints()
            moment.faults(datetime.now(UTC), datetime.now(UTC).date())

    def backup(self) -> None:
        made = backup.make(self.settings, self.url, self.store.size_bytes(), print)
        target = load_settings(
            data_dir=self.work / "restored", database_url=self.copy("restored"), database_direct_url=self.direct
        )
        restore(target, made, print)

    def copy(self, name: str) -> str:
        found = self.bouncer.url(name)
        self.direct = found.direct
        with connect(self.admin) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        return str(found)

    def coverage(self) -> None:
        coverage, ledger = self.store.coverage, self.store.ledger
        cells = coverage.cells(list(Timeframe), None, None)
        coverage.summary()
        coverage.set_expected(cells.select("instrument", "timeframe", "day", pl.col("expected") + 1))
        coverage.set_expected(cells.select("instrument", "timeframe", "day", "expected"))
        coverage.oldest_unfinished()
        ledger.counts()
        ledger.due()

    def checks(self) -> None:
        now = datetime.now(UTC)
        horizon = Horizon(now - timedelta(days=300), now, timedelta(minutes=1))
        for timeframe in Timeframe:
            stored_bars.verify(self.store, timeframe, horizon.start, now, horizon, Thresholds.of(self.settings))

    def statistics(self) -> None:
        self.store.storage.analyze()
        self.store.storage.tidy_catalogue()
        storage_report.report(self.settings, self.store, self.url, sample=True)

    def reading(self) -> None:
        with Reader(self.url) as reader:
            end = datetime.now(UTC)
            reader.bars(self.names, "1m", end - timedelta(days=30), end)
            reader.bars(self.names[:1], "1m", end - timedelta(days=300), end)
            reader.bars(self.names, "1h", end - timedelta(days=300), end)
            reader.bars(self.names, "5m", end - timedelta(days=300), end)
            reader.coverage()

    def features(self) -> None:
        end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        features.bring_up_to_date(self.store, end - timedelta(days=120), end, benchmark=self.names[0])

    def labels(self) -> None:
        end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        for strategy in Strategy:
            sets = {name: each[strategy] for name, each in parameter_sets({}).items()}
            start = end - timedelta(days=280)
            labels.bring_sets_up_to_date(self.store, strategy, sets, start, end, benchmark=self.names[0])

    def compaction(self) -> None:
        retention.open_retention(self.store, self.settings).compact()

    def archive(self) -> None:
        retention.open_retention(self.store, self.settings).run(progress=print)

    def return_from_archive(self) -> None:
        files = self.store.connections.run(find, "bars", Timeframe.M1)[:1]
        archive_restore.restore(self.store.connections, files, timedelta(days=1))

    def drop(self) -> None:
        chosen = self.settings.model_copy(update={"keep_days": {**self.settings.keep_days, "1m": 60}})
        retention_policy(chosen)
        retention.open_retention(self.store, chosen).run(progress=print)

    bouncer: pgbouncer.PgBouncer
    direct: str


#: In this order: what moves rows comes last.
KINDS = (
    "views", "proofs", "frozen", "coverage", "checks", "statistics", "reading", "features", "labels", "backup",
    "compaction", "archive", "return_from_archive", "drop",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default=",".join(KINDS))
    options = parser.parse_args()
    print(machine())
    server = EmbeddedServer(options.folder)
    with tempfile.TemporaryDirectory(prefix="cp-bench-") as name, server.running():
        work = Path(name)
        work.chmod(0o755)
        (work / "bouncer").mkdir()
        admin = server.url()
        migrate(admin)
        with connect(admin) as connection:
            made = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [pgbouncer.ROLE]).fetchone()
        if made is None:
            pgbouncer.make_role(admin)
        with connect(admin) as connection:
            # the store's tables belong to the server's owner
            connection.execute(f"ALTER ROLE {pgbouncer.ROLE} SUPERUSER")
        with pgbouncer.running(work / "bouncer", admin) as bouncer:
            url = bouncer.url("crypto_pipeline")
            settings = load_settings(data_dir=options.folder, backup_dir=options.folder / "backups")
            with Store(url) as store:
                bench = Bench(store, url, admin, settings, work)
                bench.bouncer = bouncer
                for kind in options.only.split(","):
                    bench.measure(kind.replace("_", " "), getattr(bench, kind))
    table(["work", "s in all", "longest statement, s", "calls", "statement"], bench.rows)


if __name__ == "__main__":
    main()
