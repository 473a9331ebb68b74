"""Labels: microseconds per event of the triple barrier and of whole labels, compared with a plain per-event loop.

    python bench/labels.py [--instruments 90] [--days 180] [--store] [--dagster]

Bars are generated (15m from 1m by the product's roll-up); minutes are kept for all of it, so every bar that touches
both barriers is decided by them. "Barriers" is from known setups to outcomes; "whole label" also makes the frame with
returns, excursions, classes and uniqueness; "setups" looks for them on every bar. With --store the same goes through
PostgreSQL: bars read, labels written. With --dagster (alone) all three assets of the default set are made in one range
run, checks included, from a PostgreSQL that has the bars; minutes only of the last 30 days, as they are kept.
"""

from __future__ import annotations

import resource
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
from common import PeakMemory, database, family, load, machine, numbers, postgres, postmaster, prepare_dagster, table

from crypto_pipeline.arrays.grid import COLUMNS, Grid
from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.labels.barriers import touch
from crypto_pipeline.labels.compute import SetupContext, find_setups, label, make_plans
from crypto_pipeline.labels.intrabar import KeptMinutes, minutes_of
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.stored.update import bring_up_to_date
from crypto_pipeline.labels.strategies.base import TIMEFRAME, Parameters
from crypto_pipeline.labels.strategies.dca import halts
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Instrument, Timeframe, roll_up_all
from crypto_pipeline.market.instruments import Tier
from crypto_pipeline.store import Store, migrate
from crypto_pipeline.store.database.connect import ensure_databases
from crypto_pipeline_tests.builders.label_market import START, minutes
from crypto_pipeline_tests.labels.comparison import NAME, OWN, as_bars, equal, panel_of
from crypto_pipeline_tests.oracles import labels

_TIERS = list(Tier)[:3]


def make(number: int, days: int, start: datetime = START) -> tuple[str, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Name, minutes, quarters and hours of one instrument."""
    name = "BTC-USDT" if number == 0 else f"COIN{number:02d}-USDT"
    bars = minutes(name, days, number, start)
    rolled = roll_up_all(bars, (Timeframe.M15, Timeframe.H1))
    return name, bars, rolled[Timeframe.M15], rolled[Timeframe.H1]


def measure(count: int, days: int, sets: dict[str, dict[Strategy, Parameters]]) -> None:
    end = START + timedelta(days=days)
    kept, hours, tiers, parts = {}, [], {}, []
    for number in range(count):
        name, fine, quarters, hourly = make(number, days)
        kept[name] = KeptMinutes.from_bars(fine)
        parts.append(quarters.select("instrument", "open_time", *COLUMNS))
        hours.append(hourly.select("instrument", "open_time", *COLUMNS))
        tiers[name] = _TIERS[number % 3]
    panel = Panel.from_bars(pl.concat(parts), list(tiers), START, end, TIMEFRAME)
    hourly_panel = Panel.from_bars(pl.concat(hours), list(tiers), START, end, Timeframe.H1)
    context = SetupContext(halts(panel.close[0]), hourly_panel)
    source = minutes_of(panel, kept)
    bars = count * days * 96
    rows, total = [], np.zeros(4)
    for name, chosen in sets.items():
        for strategy, parameters in chosen.items():
            compiled(strategy, panel, context, parameters, tiers, source)
            took = once(strategy, panel, context, parameters, tiers, source)
            if took[0] < 5000:  # milliseconds: the middle of seven
                again = [once(strategy, panel, context, parameters, tiers, source) for _ in range(6)]
                took = np.median([took, *again], axis=0)
            rows.append((name, strategy, *figures(took, bars)))
            total += took
        if name == "default":
            rows.append(("default", "all", *figures(total, bars * 3)))
    rows.append(("all", "", *figures(total, bars * len(rows[:-1]))))
    table(
        ("parameters", "strategy", "events", "barriers µs/event", "whole label µs/event", "setups µs/bar", "setups s"),
        rows,
    )


def once(
    strategy: Strategy, panel: Panel, context: SetupContext, parameters: Parameters, tiers: Any, source: Any
) -> np.ndarray:
    """Events, and seconds of barriers, whole labels and setups."""
    began = time.perf_counter()
    found = find_setups(strategy, panel, context, parameters, tiers)
    at = [time.perf_counter()]
    plans, _ = make_plans(strategy, panel, found, parameters, list(tiers.values()))
    touch(panel, plans, parameters.horizon, source)
    at.append(time.perf_counter())
    label(strategy, panel, found, parameters, tiers, source)
    at.append(time.perf_counter())
    return np.array([found.height, at[1] - at[0], at[2] - at[1], at[0] - began])


def figures(took: np.ndarray, bars: int) -> list[str]:
    """Events, and seconds of barriers, whole labels and setups, for the table."""
    events = max(took[0], 1)
    return [
        f"{took[0]:,.0f}", f"{took[1] / events * 1e6:.1f}", f"{took[2] / events * 1e6:.1f}",
        f"{took[3] / bars * 1e6:.2f}", f"{took[3]:.2f}",
    ]  # fmt: skip


def compiled(
    strategy: Strategy, panel: Panel, context: SetupContext, parameters: Parameters, tiers: Any, source: Any
) -> None:
    """The first call of a compiled loop compiles it."""
    grid = Grid(TIMEFRAME, START, START + 2000 * TIMEFRAME.delta)
    few = Panel(panel.names[:1], grid, *(getattr(panel, name)[:1, :2000] for name in COLUMNS))
    less = SetupContext(context.halted[:2000], context.hours)
    label(strategy, few, find_setups(strategy, few, less, parameters, tiers), parameters, tiers, source)


def beside_the_loop(parameters: Parameters, days: int) -> None:
    """The same labels by the tests' reference, one event after the other in plain Python."""
    _, fine, quarters, hours = make(1, days)
    plain = [as_bars(frame) for frame in (quarters, fine, hours, quarters)]
    end = START + timedelta(days=days)
    panel = panel_of(quarters, START, end)
    context, tiers = SetupContext(halts(panel.close[0])), {NAME: "large"}
    source = minutes_of(panel, {NAME: KeptMinutes.from_bars(fine)})
    found = find_setups(Strategy.DCA, panel, context, parameters, tiers)
    began = time.perf_counter()
    ours = label(Strategy.DCA, panel, found, parameters, tiers, source)
    took = time.perf_counter() - began
    dumped = parameters.model_dump(mode="json")
    seen = labels.dca_setups(plain[0], plain[3], dumped)
    began = time.perf_counter()
    until = int(end.timestamp() * 1000)
    usable = [one for one in seen if one["signal"] in set(ours["signal_ts"].to_physical())]
    for one in usable:
        labels.one_label(one, "dca", plain[0], plain[1], dumped, "large", until)
    loop = time.perf_counter() - began
    equal(ours, labels.labels("dca", *plain, dumped, "large", until), "dca")
    each = took / ours.height * 1e6, loop / len(usable) * 1e6
    print(
        f"\nDCA, {ours.height:,} events: {each[0]:.1f} µs each, a plain loop {each[1]:.1f} µs: {each[1] / each[0]:.1f}×"
    )


def through_the_store(count: int, days: int, sets: dict[str, dict[Strategy, Parameters]]) -> None:
    end = START + timedelta(days=days)
    rows = []
    with postgres() as server, database(server, "labels") as url, Store(url) as store:
        for number in range(count):
            name, fine, quarters, hours = make(number, days)
            store.instruments.add([Instrument.crypto(name, _TIERS[number % 3])])
            for timeframe, bars in ((Timeframe.M1, fine), (Timeframe.M15, quarters), (Timeframe.H1, hours)):
                store.bars.write(bars, timeframe)
        for set_name, chosen in sets.items():
            for strategy, parameters in chosen.items():
                took = []
                for _ in range(2):
                    began = time.perf_counter()
                    report = bring_up_to_date(store, strategy, parameters, START, end, now=end)
                    took.append(time.perf_counter() - began)
                    if len(took) == 1:
                        first = report
                each = took[0] / max(first.labels, 1) * 1e6
                rows.append(
                    (set_name, strategy, f"{first.labels:,}", f"{took[0]:.2f}", f"{each:.0f}", f"{took[1]:.2f}")
                )
    print()
    table(("parameters", "strategy", "labels stored", "s", "µs/label, all in", "s when nothing is due"), rows)


def through_dagster(count: int, days: int) -> None:
    """One run of ``label_setups`` over all days, then one with nothing to do."""
    with tempfile.TemporaryDirectory(prefix="cp-home-") as home, postgres() as server:
        migrate(server.url())
        ensure_databases(server.url("postgres"), ["dagster"])
        dagster = server.url("dagster").replace("postgresql://", "postgresql+psycopg2://")
        prepare_dagster(Path(home), server.url(), dagster, days)
        import dagster as dg

        end = Timeframe.D1.floor(datetime.now(UTC))
        with Store(server.url()) as store:
            for number in range(count):
                name, fine, quarters, hours = make(number, days, end - timedelta(days=days))
                store.instruments.add([Instrument.crypto(name, _TIERS[number % 3])])
                recent = fine.filter(pl.col("open_time") >= end - timedelta(days=30))
                for timeframe, bars in ((Timeframe.M1, recent), (Timeframe.M15, quarters), (Timeframe.H1, hours)):
                    store.bars.write(bars, timeframe)
            store.connections.run(lambda connection: connection.execute("ANALYZE") and None)
            del fine, quarters, hours, recent
            groups = {"postgres": family(postmaster(server)), "this process": family(psutil.Process())}
            rows = []
            with dg.DagsterInstance.get() as instance, PeakMemory(groups) as peak:
                for what in ("first", "nothing to do"):
                    rows.append((what, *range_run(instance, end - timedelta(days=days), end), load()))
            stored = [
                store.labels.read(strategy.definition.table, parameters.hash, end - timedelta(days=days), end).height
                for strategy, parameters in parameter_sets({})["default"].items()
            ]
    table(("run", "s", "s in the three assets", "keys", "checks that failed", "load"), rows)
    print(f"\nlabels {stored}")
    table(("memory", "MiB shown", "MiB of its own"), peak.rows())


def range_run(instance: Any, start: datetime, end: datetime) -> tuple[str, str, int, str]:
    from crypto_pipeline.definitions import defs
    from crypto_pipeline.defs.base.partitions import range_tags

    began = time.perf_counter()
    job = defs().resolve_job_def("label_setups")
    result = job.execute_in_process(instance=instance, tags=range_tags(start, end))
    took = time.perf_counter() - began
    steps = [event for event in result.all_node_events if event.is_step_success and event.step_key.startswith("strat")]
    inside = [f"{event.step_success_data.duration_ms / 1000:.1f}" for event in steps]
    failed = [one.check_name for one in result.get_asset_check_evaluations() if not one.passed]
    return f"{took:.1f}", " ".join(inside), len(result.get_asset_materialization_events()), ", ".join(failed)


def main() -> None:
    parser = numbers(__doc__, instruments=90, days=180)
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--dagster", action="store_true")
    options = parser.parse_args()
    if options.dagster:
        print(f"{machine()}\n")
        through_dagster(options.instruments, options.days)
        return
    np.seterr(all="ignore")
    sets = parameter_sets(OWN)
    print(f"{machine()}\n\n{options.instruments} instruments × {options.days} days of 15m bars\n")
    measure(options.instruments, options.days, sets)
    beside_the_loop(sets["wide"][Strategy.DCA], min(options.days, 60))  # type: ignore[arg-type]
    if options.store:
        through_the_store(options.instruments, options.days, {"default": sets["default"], "wide": sets["wide"]})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory of this process {peak:.2f} GiB")


if __name__ == "__main__":
    main()
