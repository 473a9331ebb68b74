"""A simulated year without a person: every night retention removes what is due, and nothing else may grow.

    python bench/year.py [--days 365] [--instruments 4] [--revised 3] [--product] [--every 30]

Each simulated day brings the day's bars of all timeframes and its trades, some bars first in a worse copy (which leaves
history), what is expected, and in the night retention, on the 3rd compaction, and of the maintenance what keeps the
system catalogue small. Every thirty days: the sizes of database and archive, which tables grew most, and the
invariants: expected = present + explained in what is kept, every count right, every bar of table and archive equal to
the generated market's, reads as of the past unchanged, nothing for healing to fetch.

Times are a fraction of the product's (1m 7 days hot, 30 kept, 5m 15 and 60 …): a year is many times what is kept.
With ``--product`` they are the product's own.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from common import MISCOUNTED, database, machine, numbers, postgres, table
from polars.testing import assert_frame_equal

from crypto_pipeline.healing.plan import Horizon, missing, refresh_expected
from crypto_pipeline.market.bars import BAR_SCHEMA
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.retention import RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.market.generated import GeneratedMarket
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention

BEGIN = datetime(2025, 1, 6, tzinfo=UTC)
DAY = timedelta(days=1)
VENUE = "replay"
_SHORT_HOT = {"1m": 7, "5m": 15, "15m": 15, "30m": 15, "1h": 30, "4h": 30}
_SHORT_KEPT = {"1m": 30, "5m": 60, "15m": 60, "30m": 60, "1h": 90, "4h": 90}
# Partitions count as the table that they are of.
_TABLES = """
SELECT coalesce(top.relname, c.relname), sum(pg_total_relation_size(c.oid))::bigint
FROM pg_class c LEFT JOIN pg_class top ON top.oid = (SELECT inhparent FROM pg_inherits WHERE inhrelid = c.oid)
WHERE c.relkind IN ('r', 'p', 'm') GROUP BY 1
"""
_SIZE = "SELECT pg_database_size(current_database())"


class Year:
    def __init__(self, store: Store, folder: Path, options: argparse.Namespace) -> None:
        self.store, self.folder, self.options = store, folder, options
        self.market = GeneratedMarket(seed=3, instruments=options.instruments)
        self.names = [one.canonical for one in self.market.symbols()]
        store.instruments.add([Instrument.crypto(name) for name in self.names])
        given = Settings()
        hot = given.keep_hot_days if options.product else _SHORT_HOT
        kept = given.keep_days if options.product else _SHORT_KEPT
        self.policy = RetentionPolicy.of(hot, kept, 7 if options.product else 2, 0, 2000 if options.product else 100)
        self.retention = Retention(
            store.connections, ArchiveStorage(str(folder / "archive")), folder / "scratch", self.policy
        )
        self.slowest = {"run": 0.0, "switch": 0.0}
        self.known: list[tuple[datetime, datetime, pl.DataFrame]] = []

    def live(self, day: datetime) -> None:
        """One day and its night."""
        end = day + DAY
        for timeframe in Timeframe:
            width = timeframe.delta
            start = timeframe.floor(day) if timeframe is not Timeframe.W1 else timeframe.floor(end) - width
            if timeframe is Timeframe.W1 and end.weekday() != 0:
                continue
            bars = pl.concat([self.market.bars(name, timeframe, start, end) for name in self.names])
            if day.toordinal() % self.options.revised == 0:  # first a copy that saw only a part
                early = bars.with_columns(pl.col("volume") / 2, pl.lit(False).alias("complete"))
                self.store.bars.write(early.select(*BAR_SCHEMA), timeframe)
            self.store.bars.write(bars, timeframe)
        for name in self.names[:1]:
            self.store.trades.write(VENUE, self.market.trades(name, day, day + timedelta(hours=1)))
        now = end + timedelta(hours=3)
        frame = self.store.instruments.frame(VENUE).select("instrument", "calendar")
        refresh_expected(self.store, frame, self.horizon(now), list(Timeframe))
        self.explain(day, end, now)
        began = time.monotonic()
        report = self.retention.run(now, progress=lambda text: None)
        assert not report.waiting, report.waiting
        self.slowest["run"] = max(self.slowest["run"], time.monotonic() - began)
        self.slowest["switch"] = max([self.slowest["switch"], *(one.switch_seconds for one in report.archived)])
        if end.day == 3:
            self.retention.compact(now, progress=lambda text: None)
            self.store.storage.analyze()
        self.store.storage.make_partitions_ahead(now)
        self.store.storage.tidy_catalogue()
        self._forget_retired()

    def explain(self, day: datetime, end: datetime, now: datetime) -> None:
        """Explain absent bars of the generated venue as outages, as healing would."""
        for timeframe in Timeframe:
            begin = timeframe.floor(day) if timeframe is not Timeframe.W1 else timeframe.floor(end) - timeframe.delta
            holes = missing(self.store, timeframe, (begin, end), self.names, self.horizon(now))
            if holes.height:
                self.store.ledger.record(
                    holes.select("instrument", "start", "end").with_columns(
                        pl.lit(str(timeframe)).alias("timeframe"),
                        pl.lit("venue_outage").alias("state"),
                        pl.lit("{}").alias("evidence"),
                        pl.lit(None, pl.Datetime("ms", "UTC")).alias("next_attempt"),
                    )
                )

    def horizon(self, now: datetime) -> Horizon:
        return Horizon.of(now, (now - BEGIN).days, 5.0, self.policy)

    def _forget_retired(self) -> None:
        """The database's clock does not run fast: the hour that retired files stay is over now."""
        with self.store.connections.transaction() as connection:
            connection.execute(
                "UPDATE market.archive_files SET retired_at = now() - interval '1 day' WHERE status = 'retired'"
            )

    def prove(self, now: datetime) -> None:
        """Every invariant; an AssertionError says which does not hold."""
        horizon = self.horizon(now)
        assert self._number(MISCOUNTED) == 0, "a cell counts other bars than there are"
        for timeframe in Timeframe:
            first, last = horizon.first_open(timeframe), horizon.settled_end(timeframe)
            first = max(first, timeframe.ceil(BEGIN))
            cells = self.store.coverage.cells([timeframe], first, last)
            lacking = cells.filter(pl.col("expected") > pl.col("present") + pl.col("explained"))
            if timeframe is not Timeframe.W1:  # the running week is expected before it is collected
                assert lacking.filter(pl.col("day") < now.date()).is_empty(), (timeframe, lacking)
                assert missing(self.store, timeframe, (first, timeframe.floor(last - timedelta(hours=4))), self.names,
                               horizon).is_empty(), "healing would fetch what retention removed"  # fmt: skip
            for name in self.names:
                true = self.market.bars(name, timeframe, first, timeframe.floor(now - timedelta(hours=3)))
                stored = self.store.reader.read([name], timeframe, first, now)
                assert_frame_equal(stored.select(*BAR_SCHEMA), true.select(*BAR_SCHEMA))
        for moment, begin, seen in self.known:
            kept = horizon.first_open(Timeframe.M15)
            again = self.store.reader.read(self.names, Timeframe.M15, max(begin, kept), now, as_of=moment)
            assert_frame_equal(again, seen.filter(pl.col("open_time") >= kept))
        moment = datetime.now(UTC)
        begin = horizon.first_open(Timeframe.M15)
        self.known = [*self.known[-2:], (moment, begin, self.store.reader.read(self.names, Timeframe.M15, begin, now))]

    def sizes(self) -> tuple[float, float, int]:
        """MiB of the database and of the archive, and files in it."""
        files = [path for path in (self.folder / "archive").rglob("*") if path.is_file()]
        return self._number(_SIZE) / 2**20, sum(path.stat().st_size for path in files) / 2**20, len(files)

    def tables(self) -> dict[str, int]:
        """Bytes of each table with its indexes."""
        with self.store.connections.transaction() as connection:
            return dict(connection.execute(_TABLES).fetchall())

    def _number(self, query: str) -> int:
        with self.store.connections.transaction() as connection:
            row = connection.execute(query).fetchone()  # type: ignore[call-overload]
        assert row is not None
        return int(row[0])


def grown(sizes: list[dict[str, int]]) -> None:
    """Tables by what they grew in the last third of the inspections, and the largest."""
    before, after = sizes[len(sizes) * 2 // 3 - 1], sizes[-1]
    rows = [(name, before.get(name, 0) // 1024, size // 1024) for name, size in after.items()]
    chosen = sorted(rows, key=lambda row: (row[1] - row[2], -row[2]))[:12]
    chosen += [row for row in sorted(rows, key=lambda row: -row[2])[:8] if row not in chosen]
    table(["table", "KiB at two thirds", "KiB at the end"], chosen)


def main() -> None:
    parser = numbers(__doc__, days=365, instruments=4)
    parser.add_argument("--revised", type=int, default=3, help="every so many days bars come in two copies")
    parser.add_argument("--product", action="store_true")
    parser.add_argument("--every", type=int, default=30, help="days from one inspection to the next")
    options = parser.parse_args()
    print(machine())
    folder = Path(tempfile.mkdtemp(prefix="cp-bench-year-"))
    began, lines, sizes = time.monotonic(), [], []
    try:
        with postgres() as server, database(server, "year") as url, Store(url) as store:
            year = Year(store, folder, options)
            for number in range(options.days):
                day = BEGIN + number * DAY
                year.live(day)
                if (number + 1) % options.every == 0 or number + 1 == options.days:
                    year.prove(day + DAY + timedelta(hours=3))
                    stored, archived, files = year.sizes()
                    lines.append((number + 1, f"{stored:.0f}", f"{archived:.1f}", files))
                    sizes.append(year.tables())
                    print(lines[-1], f"{time.monotonic() - began:.0f} s", flush=True)
    finally:
        shutil.rmtree(folder)
    table(["day", "database MiB", "archive MiB", "files"], lines)
    grown(sizes)
    print(f"slowest retention run {year.slowest['run']:.2f} s, longest switch {year.slowest['switch'] * 1000:.0f} ms; "
          f"every invariant held every {options.every} days; {time.monotonic() - began:.0f} s in all")  # fmt: skip


if __name__ == "__main__":
    main()
