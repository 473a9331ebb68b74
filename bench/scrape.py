"""What a scrape and the health routes cost on a large store, alone and beside eight slow reads.

    python bench/big_store.py FOLDER; cp -a FOLDER COPY; rm COPY/postgres/port
    python bench/scrape.py COPY [--instruments 500] [--days 180] [--scrapes 25]

COPY gets as many instruments, each with its coverage of every timeframe and its newest bars, rows of the ledger, and
the history of alerts, jobs, runs and ticks that a deployment has after weeks. Then the HTTP server serves it in a
process of its own. A scrape is asked for every 2.1 s, so that no quick part is still kept from the one before it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import psycopg

from bench.common import machine, prepare_dagster, table
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.host.ports import free_port
from crypto_pipeline.store import EmbeddedServer, Store, ensure_databases, migrate
from crypto_pipeline.store.database.connect import connect, with_database

# ruff: noqa: E501  (statements and programs as text)
_SERVE = "from crypto_pipeline.api.serve import serve; from crypto_pipeline.settings import load_settings; import sys; serve(load_settings(), sys.argv[1])"
_READ = """
import random, sys, threading, httpx
base, seconds = sys.argv[1], float(sys.argv[2])
import time
end = time.monotonic() + seconds
done = []
def read(number):
    with httpx.Client(base_url=base, timeout=60) as client:
        while time.monotonic() < end:
            day = random.randrange(1, 28)
            answer = client.get(f"/bars/A{random.randrange(90):03d}-USDT?timeframe=1m&start=2026-{random.randrange(4, 11):02d}-{day:02d}"
                                f"&limit={50_000 - random.randrange(1000)}")
            done.append(len(answer.content))
threads = [threading.Thread(target=read, args=[n]) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(len(done), sum(done))
"""
_BARS = """
INSERT INTO market.ohlc_data (open_time, open, high, low, close, volume, revision, recorded_at, instrument_id,
                              source_rank, complete, timeframe)
SELECT o.open_time, o.open, o.high, o.low, o.close, o.volume, o.revision, o.recorded_at, n.instrument_id,
       o.source_rank, o.complete, o.timeframe
FROM market.instruments n, market.ohlc_data o
WHERE n.symbol LIKE 'B%%' AND o.timeframe = %(timeframe)s AND o.instrument_id = %(id)s AND o.open_time >= %(since)s
ON CONFLICT DO NOTHING
"""
_NEWEST = """
SELECT i.instrument_id, (SELECT max(open_time) FROM market.ohlc_data o
                         WHERE o.instrument_id = i.instrument_id AND o.timeframe = %(timeframe)s)
FROM market.instruments i WHERE symbol = 'A000-USDT'
"""
_COVERAGE = """
INSERT INTO market.coverage (instrument_id, timeframe, day, expected, present, final, data_version)
SELECT i.instrument_id, %(timeframe)s, d::date, %(expected)s, %(expected)s, true, 1
FROM market.instruments i, generate_series(current_date - %(days)s, current_date, interval '1 day') AS d
WHERE i.symbol LIKE 'B%%' ON CONFLICT DO NOTHING
"""
_HISTORY = """
INSERT INTO market.gaps (instrument_id, timeframe, start_time, end_time, bars, state)
SELECT i.instrument_id, '1m', t, t + interval '2 minutes', 2, (ARRAY['no_trade', 'venue_outage'])[1 + n % 2]
FROM market.instruments i, generate_series(1, 20) AS n, LATERAL (SELECT date_trunc('hour', now()) - n * interval '1 day') AS s (t);
INSERT INTO ops.job_metrics (job, started, seconds, rows, succeeded, bars_made)
SELECT 'job_' || n % 20, now() - n * interval '20 seconds', 1.5, 10, n % 50 > 0, 8 FROM generate_series(1, 60000) AS n;
INSERT INTO ops.alerts (source, severity, summary, opened_at, resolved_at)
SELECT 'source_' || n, (ARRAY['info', 'warning', 'error', 'critical'])[1 + n % 4], 'it was wrong',
       now() - n * interval '5 minutes', CASE WHEN n > 20 THEN now() - n * interval '4 minutes' END
FROM generate_series(1, 5000) AS n;
INSERT INTO ops.heartbeats SELECT 'ingest-' || n, 'vm:1:2:3', now(), now(), '{"bars": 1, "lag_ms": 3}' FROM generate_series(0, 11) AS n;
INSERT INTO ops.leases (name, holder, token, expires_at) SELECT 'ingest-' || n, 'vm', 1, now() + interval '1 hour' FROM generate_series(0, 11) AS n;
INSERT INTO ops.venue_budgets (venue, window_limit, window_seconds, share) VALUES ('replay', 6000, 60, 0.9), ('kraken', 60, 60, 0.9) ON CONFLICT DO NOTHING;
"""
_DAGSTER = """
INSERT INTO runs (run_id, pipeline_name, status, run_body, create_timestamp)
SELECT 'run-' || n, 'job_' || n % 20, CASE WHEN n <= 5 THEN 'STARTED' WHEN n <= 8 THEN 'QUEUED' ELSE 'SUCCESS' END, '{}',
       LOCALTIMESTAMP - n * interval '3 minutes' FROM generate_series(1, 6000) AS n;
INSERT INTO run_tags (run_id, key, value) SELECT 'run-' || n, 'tag_' || k, 'v' || n FROM generate_series(1, 6000) AS n, generate_series(1, 6) AS k;
INSERT INTO instigators (selector_id, repository_selector_id, status, instigator_type, instigator_body)
SELECT 'selector-' || n, 'r', 'DECLARED_IN_CODE', CASE WHEN n % 2 = 0 THEN 'SENSOR' ELSE 'SCHEDULE' END,
       '{"origin": {"job_name": "name_' || n || '"}, "job_specific_data": {"cursor": "' || repeat('x', 3000) || '"}}' FROM generate_series(1, 40) AS n;
INSERT INTO job_ticks (job_origin_id, selector_id, status, type, timestamp, tick_body)
SELECT 'o', 'selector-' || 1 + n % 40, 'SKIPPED', 'SENSOR', LOCALTIMESTAMP - n * interval '5 seconds', '{}' FROM generate_series(1, 120000) AS n;
INSERT INTO daemon_heartbeats (daemon_type, daemon_id, timestamp) VALUES ('SENSOR', 'd', LOCALTIMESTAMP), ('SCHEDULER', 'd', LOCALTIMESTAMP);
"""


def fill(url: str, options: argparse.Namespace) -> None:
    """The rows that the store lacks for a deployment of so many instruments and days."""
    with Store(url) as store:
        there = len(store.instruments.list())
        store.instruments.add(
            [Instrument.crypto(f"B{number:03d}-USDT") for number in range(options.instruments - there)]
        )
    with connect(url) as connection:
        connection.execute("SET session_replication_role = replica")  # nobody listens to these changes
        for timeframe in Timeframe:
            a_day = max(1, 1440 // timeframe.minutes)
            given = {"timeframe": str(timeframe), "days": options.days, "expected": a_day}
            newest = connection.execute(_NEWEST, given).fetchone()
            assert newest is not None
            connection.execute(_BARS, {**given, "id": newest[0], "since": newest[1] - 3 * timeframe.delta})
            connection.execute(_COVERAGE, given)
        connection.execute("SET session_replication_role = origin")
        connection.execute(_HISTORY)
        connection.execute("VACUUM (ANALYZE) market.coverage")
        connection.execute("ANALYZE ops.job_metrics, ops.alerts, market.gaps, market.instruments")


def fill_dagster(server: EmbeddedServer, url: str) -> None:
    """Dagster's own tables, as they are after two weeks."""
    from dagster import DagsterInstance

    dagster = with_database(url, "dagster")
    ensure_databases(url, ["dagster"])
    with tempfile.TemporaryDirectory() as home:
        prepare_dagster(Path(home), url, dagster.replace("postgresql://", "postgresql+psycopg2://"), 7)
        with DagsterInstance.get() as instance:
            instance.get_runs(limit=1)
            instance.all_instigator_state()
    with connect(dagster) as connection:
        connection.execute(_DAGSTER)
        connection.execute("VACUUM ANALYZE")


@contextmanager
def serving(url: str) -> Iterator[str]:
    """The HTTP server on the store, in a process of its own; gives its address."""
    port = free_port("127.0.0.1")
    environment = os.environ | {"CRYPTO_PIPELINE_API_PORT": str(port), "CRYPTO_PIPELINE_DATABASE_URL": url}
    process = subprocess.Popen([sys.executable, "-c", _SERVE, url], env=environment)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{base}/health/simple").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield base
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def reading(base: str, seconds: float) -> Iterator[None]:
    """Eight clients in a process of their own that read 50,000 bars each, again and again."""
    reads = subprocess.Popen([sys.executable, "-c", _READ, base, str(seconds)], stdout=subprocess.PIPE, text=True)
    time.sleep(3)
    yield
    out, _ = reads.communicate(timeout=seconds + 120)
    print(f"the reads: {out.split()[0]} answers, {int(out.split()[1]) / 1e6:,.0f} MB")


def timed(client: httpx.Client, path: str, times: int, pause: float) -> list[float]:
    """Milliseconds of so many requests."""
    took = []
    for _ in range(times):
        time.sleep(pause)
        began = time.perf_counter()
        answer = client.get(path)
        took.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, answer.text[:300]
    return took


def row(name: str, took: Sequence[float], goal: str) -> list[str]:
    ordered = sorted(took)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.9, 0.99)]
    return [
        name,
        str(len(took)),
        f"{statistics.median(took):.1f}",
        f"{at[0]:.1f}",
        f"{at[1]:.1f}",
        f"{ordered[-1]:.1f}",
        goal,
    ]


def beside(client: httpx.Client, name: str, scrapes: int) -> list[list[str]]:
    """The health routes and scrapes while something else goes on."""
    return [
        row(f"{name}: /health/simple", timed(client, "/health/simple", 400, 0.005), "p99 ≤ 5"),
        row(f"{name}: /metrics", timed(client, "/metrics", scrapes // 3, 2.1), "≤ 50"),
        row(f"{name}: /health/details", timed(client, "/health/details", scrapes // 3, 2.1), "≤ 100"),
    ]


def measured(url: str, base: str, options: argparse.Namespace) -> list[list[str]]:
    rows, scrapes = [], options.scrapes
    with httpx.Client(base_url=base, timeout=30) as client:
        rows.append(row("/metrics, the first of all", timed(client, "/metrics", 1, 0), ""))
        time.sleep(3)
        rows.append(row("/metrics", timed(client, "/metrics", scrapes, 2.1), "≤ 50"))
        rows.append(row("/health/details", timed(client, "/health/details", scrapes, 2.1), "≤ 100"))
        rows.append(row("/health", timed(client, "/health", scrapes, 2.1), ""))
        timed(client, "/health/simple", 50, 0)
        rows.append(row("/health/simple", timed(client, "/health/simple", 2000, 0.002), "p99 ≤ 5"))
        if options.alone:
            return rows
        seconds = 1.4 * scrapes + 8
        with psycopg.connect(url) as locking:
            # eight reads wait in the database until they are cancelled, then the next eight do
            locking.execute("LOCK TABLE market.ohlc_data IN ACCESS EXCLUSIVE MODE")
            with reading(base, seconds):
                rows += beside(client, "beside 8 reads that wait for a lock", scrapes)
            locking.rollback()
        time.sleep(5)
        with reading(base, seconds):
            rows += beside(client, "beside 8 reads of 50,000 bars as JSON", scrapes)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--instruments", type=int, default=500)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--scrapes", type=int, default=25)
    parser.add_argument("--alone", action="store_true", help="without the parts beside slow reads")
    options = parser.parse_args()
    mark = options.folder / "scrape.json"
    server = EmbeddedServer(options.folder)
    with server.running() as url:
        migrate(url)
        if not mark.exists():
            fill(url, options)
            fill_dagster(server, url)
            mark.write_text(json.dumps(vars(options), default=str))
        with psycopg.connect(url) as connection:
            counts = connection.execute(
                "SELECT (SELECT sum(present) FROM market.coverage), (SELECT count(*) FROM market.coverage),"
                " (SELECT count(*) FROM market.instruments WHERE active)"
            ).fetchone()
        print(machine())
        print(f"bars by coverage, cells, instruments: {counts}")
        with serving(url) as base:
            rows = measured(url, base, options)
            print(f"one scrape: {len(httpx.get(f'{base}/metrics').content):,} bytes")
        table(["request", "n", "median ms", "p90", "p99", "most", "goal"], rows)


if __name__ == "__main__":
    main()
