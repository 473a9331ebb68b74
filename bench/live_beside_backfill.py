"""Effect of a backfill on live work: passes of the live processor and of the gap monitor, with and without a backfill.

    python bench/live_beside_backfill.py [--instruments 6] [--added 24] [--days 30] [--alone 125]

`up` on a data directory of its own. The exchange then answers for files of history 20 s late, and many instruments are
added in two lots, so that two backfills fill the slots of the processors for a long time. Bars of an hour ago yesterday
are taken out of the table, which the live processor (24 hours) does not look at: the gap monitor must find and fill
them. Everything is thrown away afterwards.
"""

from __future__ import annotations

import argparse
import json
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg
from common import load, machine, numbers, table

from crypto_pipeline.market import Timeframe, choose_instruments, load_universe
from crypto_pipeline.store import EmbeddedServer, Store
from crypto_pipeline_tests.builders.deployment import Deployment

_LOSE = """
DELETE FROM market.ohlc_data o USING market.instruments i
WHERE i.instrument_id = o.instrument_id AND i.symbol = 'BTC-USDT' AND o.timeframe = '1m'
  AND o.open_time >= %s AND o.open_time < %s
"""
_COUNT = """
UPDATE market.coverage c SET final = false, data_version = nextval('market.data_version'), present = (
    SELECT count(*) FROM market.ohlc_data o WHERE o.instrument_id = c.instrument_id AND o.timeframe = '1m'
    AND (o.open_time AT TIME ZONE 'UTC')::date = c.day)
WHERE c.timeframe = '1m' AND c.day = %s
"""
_BUSY = """
SELECT count(*) FROM runs WHERE status = 'STARTED' AND run_body::json->'tags'->>'processor' IS NOT NULL
"""


def wait(what: str, patience: float, reached: Any) -> float:
    """Seconds until the condition holds."""
    began = time.monotonic()
    while not reached():
        if time.monotonic() - began > patience:
            raise SystemExit(f"{what}: not within {patience:.0f} s")
        time.sleep(0.5)
    print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)
    return time.monotonic() - began


def passes(store: Store, since: datetime) -> pl.DataFrame:
    """Rows of the live processor from then on."""
    return store.metrics.recent(since, "live_processor")


def summary(rows: pl.DataFrame) -> list[str]:
    """Passes, median and worst seconds of one, worst time between two."""
    if rows.height < 2:
        return [str(rows.height), "", "", ""]
    apart = rows["started"].diff().drop_nulls().dt.total_milliseconds() / 1000
    return [str(rows.height), *(f"{x:.2f}" for x in (rows["seconds"].median(), rows["seconds"].max(), apart.max()))]


def main() -> None:
    parser = numbers(__doc__, instruments=6, added=24, days=30)
    parser.add_argument("--alone", type=float, default=125, help="Seconds to watch the live processor alone.")
    options = parser.parse_args()
    print(machine(), load())
    house = Deployment("--instruments", str(options.instruments), "--days", str(options.days))
    try:
        house.start()
        server = EmbeddedServer(house.data_dir)
        with Store(server.url()) as store, psycopg.connect(server.url("dagster"), autocommit=True) as dagster:
            measure(house, store, dagster, options)
    finally:
        house.stop()
    print(load())


def measure(house: Deployment, store: Store, dagster: psycopg.Connection[Any], options: argparse.Namespace) -> None:
    """Run the backfill."""

    def complete() -> bool:
        totals = store.coverage.summary().filter(pl.col("timeframe") == "1m")
        return bool(totals.height and totals["missing"][0] < 5 and totals["expected"][0] > options.days * 1000)

    wait("history of the first instruments", 240, complete)
    wait("live processor", 120, lambda: passes(store, datetime.now(UTC) - timedelta(minutes=5)).height > 1)
    alone = datetime.now(UTC)
    time.sleep(options.alone)
    beside = datetime.now(UTC)
    port = house.state.settings["replay_port"]
    fault = json.dumps({"kind": "slow", "endpoint": "archive", "seconds": 20.0}).encode()
    token = house.places.replay_token()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/_control/faults", fault, headers)
    urllib.request.urlopen(asked, timeout=10).read()
    have = {row.instrument.symbol for row in store.instruments.list()}
    known = [one.symbol for one in choose_instruments(load_universe(), "all")]
    new = [name for name in known if name not in have][: options.added]
    for lot in (new[: len(new) // 2], new[len(new) // 2 :]):
        said = house.command("instruments", "add", *lot)
        print(said.stdout.strip().splitlines()[-1:] or said.stderr, flush=True)
        time.sleep(8)
    wait("two backfills run", 120, lambda: (dagster.execute(_BUSY).fetchone() or (0,))[0] >= 2)
    hole = Timeframe.H1.floor(datetime.now(UTC)) - timedelta(hours=27)
    with psycopg.connect(store.url) as connection:
        gone = connection.execute(_LOSE, [hole, hole + timedelta(minutes=10)]).rowcount
        connection.execute(_COUNT, [hole.date()])
    print(f"{gone} bars taken out")

    def healed() -> bool:
        bars = store.reader.read(["BTC-USDT"], Timeframe.M1, hole, hole + timedelta(minutes=10))
        return bars.height == 10

    took = wait("gap monitor (it looks every 300 s)", 400, healed)
    ended = "SELECT count(*) FROM runs WHERE pipeline_name = 'live_gap_fill' AND end_time IS NOT NULL"
    wait("its run has ended", 60, lambda: (dagster.execute(ended).fetchone() or (0,))[0] > 0)
    busy = (dagster.execute(_BUSY).fetchone() or (0,))[0]
    monitor = store.metrics.recent(beside, "live_gap_monitor").filter(pl.col("gaps_found") > 0).tail(1)
    runs = dagster.execute(
        "SELECT start_time - extract(epoch FROM create_timestamp AT TIME ZONE 'UTC')::float8, end_time - start_time "
        "FROM runs WHERE pipeline_name = 'live_gap_fill' AND start_time IS NOT NULL ORDER BY id DESC LIMIT 1"
    ).fetchone()
    print(f"found and filled after {took:.0f} s, while {busy} backfills ran; waited in the queue, ran (s): {runs}")
    print(monitor.select("seconds", "gaps_found", "gaps_filled", "bars_made", "status").to_dicts())
    rows = passes(store, alone)
    titles = ["live processor", "passes", "median s", "worst s", "worst between two s"]
    parts = [
        ["alone", *summary(rows.filter(pl.col("started") < beside))],
        ["beside two backfills", *summary(rows.filter(pl.col("started") >= beside))],
    ]
    table(titles, parts)


if __name__ == "__main__":
    main()
