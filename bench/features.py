"""Features: the time to compute, against pandas with TA-Lib, to write the newest close, and to store half a year.

    python bench/features.py [--instruments 90] [--days 180] [--only compute,pandas,store]

compute: all rows from bars in memory, in a process of its own whose memory is watched. pandas: the same features of
some instruments, one at a time, with pandas and TA-Lib, without and with holes; the values are compared as well. store:
a PostgreSQL with the product's settings filled with the bars, then one Dagster run over all days (storage PostgreSQL
too), then live steps: the rows of one close are removed and `live_step` makes them again.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import MIB, PeakMemory, family, load, machine, numbers, postgres, postmaster, prepare_dagster, table

from crypto_pipeline.arrays import rolling
from crypto_pipeline.features.compute import NAMES, Bars, compute_features, feature_frames
from crypto_pipeline.market import BAR_SCHEMA, Instrument, Timeframe, roll_up_all
from crypto_pipeline.market.bars import UTC_MS

WIDER = (Timeframe.H1, Timeframe.H4, Timeframe.D1)
PANDAS = 12


def market(instruments: int, days: int, end: datetime) -> Bars:
    """A random walk of 15m bars whose returns move together, and the wider bars of it."""
    rng = np.random.default_rng(1)
    rows = days * 96
    opens = pl.Series(int((end - timedelta(days=days)).timestamp() * 1000) + 900_000 * np.arange(rows)).cast(UTC_MS)
    common = rng.normal(0, 0.002, rows)
    parts = []
    for number in range(instruments):
        close = 100 * np.exp(np.cumsum(0.6 * common + rng.normal(0, 0.003, rows)))
        open_ = np.r_[100.0, close[:-1]]
        wick = 1 + np.abs(rng.normal(0, 0.001, (2, rows)))
        volume = rng.lognormal(3, 1, rows)
        name = "BTC-USDT" if number == 0 else f"C{number:03d}-USDT"
        parts.append(
            pl.DataFrame(
                {"instrument": [name] * rows, "open_time": opens, "open": open_, "close": close, "volume": volume,
                 "high": np.maximum(open_, close) * wick[0], "low": np.minimum(open_, close) / wick[1]}
            )
        )  # fmt: skip
    fine = pl.concat(parts)
    return {Timeframe.M15: fine, **roll_up_all(fine, WIDER)}


def compute(options: argparse.Namespace) -> dict[str, Any]:
    """The worker: computes all features once, instrument by instrument, as for the writer."""
    end = Timeframe.D1.floor(datetime.now(UTC))
    bars = market(options.instruments, options.days, end)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begin = time.perf_counter()
    rolling.prepare()
    prepared = time.perf_counter() - begin
    seconds = {}
    for call in ("first", "second"):
        rows, begin = 0, time.perf_counter()
        for frame in feature_frames(bars, end - timedelta(days=options.days), end, "BTC-USDT"):
            rows += len(frame)
        seconds[f"seconds, {call} call"] = time.perf_counter() - begin
    short = {timeframe: frame.filter(pl.col("open_time") >= end - timedelta(days=reach))
             for (timeframe, frame), reach in zip(bars.items(), (10, 12, 43, 22), strict=True)}  # fmt: skip
    live = []
    for _ in range(5):
        begin = time.perf_counter()
        compute_features(short, end - Timeframe.M15.delta, end, benchmark="BTC-USDT")
        live.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rows": rows,
        "kernels": prepared,
        **seconds,
        "live": statistics.median(live),
        "before": before,
        "peak": peak,
    }


def pandas(options: argparse.Namespace) -> dict[str, float]:
    """The worker: some instruments with pandas and TA-Lib, one at a time, and with ours; on one thread.

    `careless` knows neither holes nor warm-ups (`features_pandas.py`); `same` gives our rows
    (`features_pandas_same.py`), which is checked on bars of which one in a hundred is missing.
    """
    import features_pandas
    import features_pandas_same

    end = Timeframe.D1.floor(datetime.now(UTC))
    start = end - timedelta(days=options.days)
    whole = market(PANDAS, options.days, end)
    rng = np.random.default_rng(2)
    holes = {timeframe: frame.filter(pl.Series(rng.random(len(frame)) > 0.01)) for timeframe, frame in whole.items()}
    names = whole[Timeframe.M15]["instrument"].unique().sort().to_list()
    found: dict[str, Any] = {}
    for kind, bars in (("whole", whole), ("holes", holes)):
        frames = {name: _in_pandas(bars, name) for name in names}
        fine = {name: frames[name]["15m"] for name in names}
        if kind == "whole":
            found["careless, ms"] = _median(
                lambda name, by=frames, of=fine: features_pandas.features(of[name], by[name], of["BTC-USDT"]), names
            )
        grid = pd_grid(start, end)
        common = features_pandas_same.benchmark(fine["BTC-USDT"], grid)
        theirs: dict[str, Any] = {}

        def same(name: str, by: Any = frames, of: Any = fine, common: Any = common, into: Any = theirs) -> None:
            into[name] = features_pandas_same.features(of[name], by[name], common)

        found[f"same, {kind}, ms"] = _median(same, names)
        list(feature_frames(bars, start, end, "BTC-USDT", names[:2]))  # compiled by now
        begin = time.perf_counter()
        ours = dict(zip(names, feature_frames(bars, start, end, "BTC-USDT", names), strict=True))
        found[f"ours, {kind}, ms"] = (time.perf_counter() - begin) / len(names) * 1e3
        if kind == "holes":
            found |= _compared(ours, theirs)
    return found


def pd_grid(start: datetime, end: datetime) -> Any:
    import pandas as pd

    return pd.date_range(start, end, freq="15min", tz="UTC", inclusive="left")


def _in_pandas(bars: Bars, name: str) -> dict[str, Any]:
    return {
        str(timeframe): frame.filter(pl.col("instrument") == name).drop("instrument").to_pandas().set_index("open_time")
        for timeframe, frame in bars.items()
    }


def _median(work: Any, names: list[str]) -> float:
    """Milliseconds per instrument, without the first one, which imports and warms up."""
    seconds = []
    for name in names:
        begin = time.perf_counter()
        work(name)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:]) * 1e3


def _compared(ours: dict[str, pl.DataFrame], theirs: dict[str, Any]) -> dict[str, float]:
    """Differences after the warm-up of recursions: TA-Lib starts with a mean, ours with the first value."""
    nulls, worst, where = 0, 0.0, ""
    for name, frame in theirs.items():
        assert len(frame) == len(ours[name])
        if name == "BTC-USDT":
            continue  # against itself there is nothing but rounding to compare
        for column in NAMES:
            if column in frame:
                a, b = ours[name][column].fill_null(np.nan).to_numpy(), frame[column].to_numpy(float)
                # 4h and 1d bars reach their warm-ups later, and so forget later
                forgotten = slice(8000 if column.endswith("4h") else 3000, None)
                nulls += int((np.isnan(a) != np.isnan(b)).sum())
                apart = float(np.nanmax(np.abs(a - b)[forgotten]) / np.nanstd(a)) if np.nanstd(a) > 0 else 0.0
                worst, where = max((worst, where), (apart, column))
        assert (frame["eligible"].to_numpy() == ours[name]["eligible"].to_numpy()).all()
    return {"cells only one knows": nulls, "worst difference, deviations": worst, "of": where}


def store(options: argparse.Namespace) -> dict[str, Any]:
    """The worker: fill a store, one range run through Dagster, live steps."""
    from crypto_pipeline.store import Store, migrate
    from crypto_pipeline.store.database.connect import ensure_databases

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="cp-home-") as home, postgres() as server:
        migrate(server.url())
        ensure_databases(server.url("postgres"), ["dagster"])
        dagster = server.url("dagster").replace("postgresql://", "postgresql+psycopg2://")
        prepare_dagster(Path(home), server.url(), dagster, options.days)
        import dagster as dg

        end = Timeframe.D1.floor(datetime.now(UTC))
        with Store(server.url()) as opened:
            bars = market(options.instruments, options.days, end)
            opened.instruments.add(
                [Instrument.crypto(name) for name in bars[Timeframe.M15]["instrument"].unique().sort()]
            )
            for timeframe, frame in bars.items():
                opened.bars.write(_stated(frame, timeframe), timeframe)
            opened.connections.run(lambda connection: connection.execute("ANALYZE") and None)
            del bars
            groups = {"postgres": family(postmaster(server)), "worker": family(__import__("psutil").Process())}
            with dg.DagsterInstance.get() as instance, PeakMemory(groups) as peak:
                for name in ("first", "nothing to do"):
                    found[name] = _run(instance, end - timedelta(days=options.days), end)
            found["memory"] = peak.rows()
            names = [row.instrument.symbol for row in opened.instruments.list()]
            begin = (end - timedelta(days=options.days)).date()
            found["rows"] = int(opened.features.cells.read(names, begin, end.date())["rows"].sum())
            found["live"] = _live(opened, end)
    return found


def _stated(bars: pl.DataFrame, timeframe: Timeframe) -> pl.DataFrame:
    """Bars with the further columns that the store needs."""
    more = bars.with_columns(
        quote_volume=pl.col("volume") * pl.col("close"), taker_buy_volume=pl.col("volume") / 2, trade_count=pl.lit(5),
        source=pl.lit("historical_aggregated"), complete=True,
        revision=pl.col("open_time") + timeframe.delta,
    )  # fmt: skip
    return more.select(pl.col(name).cast(dtype) for name, dtype in BAR_SCHEMA.items())


def _run(instance: Any, start: datetime, end: datetime) -> dict[str, Any]:
    from crypto_pipeline.definitions import defs
    from crypto_pipeline.defs.base.partitions import range_tags

    begin = time.perf_counter()
    result = (
        defs()
        .resolve_job_def("build_features")
        .execute_in_process(instance=instance, tags=range_tags(start, end), raise_on_error=True)
    )
    seconds = time.perf_counter() - begin
    checks = {one.check_name: one.passed for one in result.get_asset_check_evaluations()}
    steps = {event.step_key: event for event in result.all_node_events if event.is_step_success}
    return {
        "seconds": seconds,
        "keys": len(result.get_asset_materialization_events()),
        "step": steps["ml_features"].step_success_data.duration_ms / 1000,
        "failed": [name for name, passed in checks.items() if not passed],
        "load": load(),
    }


def _live(opened: Any, end: datetime) -> list[float]:
    """Seconds of five live steps, each over the rows of one close."""
    from crypto_pipeline.features.stored.live import live_step

    def forget(connection: Any) -> None:
        for name in ("ml_features", "ml_features_live"):
            connection.execute(f"DELETE FROM research.{name} WHERE open_time = %s", [end - Timeframe.M15.delta])

    found = []
    for _ in range(6):
        opened.connections.run(forget)
        found.append(live_step(opened, end).seconds)
    return found[1:]


WORKERS = {"compute": compute, "pandas": pandas, "store": store}


def main() -> None:
    parser = numbers(__doc__, instruments=90, days=180)
    parser.add_argument("--only", default=",".join(WORKERS))
    parser.add_argument("--worker", choices=WORKERS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(WORKERS[options.worker](options)))
        return
    print(f"{machine()}\n")
    rows = []
    for name in options.only.split(","):
        given = [f"--instruments={options.instruments}", f"--days={options.days}", f"--worker={name}"]
        answer = subprocess.run([sys.executable, __file__, *given], stdout=subprocess.PIPE, check=True, text=True)
        found = json.loads(answer.stdout.splitlines()[-1])
        rows += [(name, key, json.dumps(value)) for key, value in found.items()]
    table(["part", "figure", "value"], rows)
    print(f"\nload {load()}; memory in MiB ({MIB // 2**20})")


if __name__ == "__main__":
    main()
