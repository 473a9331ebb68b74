"""Labels: microseconds per event of the triple barrier, of whole labels, and beside a plain per-event loop.

    python bench/labels.py [--instruments 90] [--days 180] [--store]

Bars are generated (15m from 1m by the product's roll-up); minutes are kept for all of it, so every bar that touches
both barriers is decided by them. "Barriers" is from known setups to outcomes; "whole label" also makes the frame with
returns, excursions, classes and uniqueness; "setups" looks for them on every bar. With --store the same goes through
PostgreSQL: bars read, labels written.
"""

from __future__ import annotations

import argparse
import resource
import time
from datetime import timedelta

import numpy as np
import polars as pl
from common import database, machine, postgres, table

from crypto_pipeline.labels import setups
from crypto_pipeline.labels.barriers import touch
from crypto_pipeline.labels.build import bring_up_to_date, minutes_inside
from crypto_pipeline.labels.grid import Grid
from crypto_pipeline.labels.labelling import Context, find_setups, label, make_plans
from crypto_pipeline.labels.parameters import Parameters, Strategy, parameter_sets
from crypto_pipeline.market import Instrument, Timeframe, roll_up_all
from crypto_pipeline.market.instruments import Tier
from crypto_pipeline.store import Store
from crypto_pipeline_tests.labels import reference
from crypto_pipeline_tests.labels.comparing import LOOSE, as_bars, equal
from crypto_pipeline_tests.labels.market import START, minutes

_TIERS = list(Tier)[:3]


def make(number: int, days: int) -> tuple[str, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Name, minutes, quarters and hours of one instrument."""
    name = "BTC-USDT" if number == 0 else f"COIN{number:02d}-USDT"
    bars = minutes(name, days, number)
    rolled = roll_up_all(bars)
    return name, bars, rolled[Timeframe.M15], rolled[Timeframe.H1]


def measure(count: int, days: int, sets: dict[str, dict[Strategy, Parameters]]) -> None:
    end = START + timedelta(days=days)
    seconds: dict[tuple[str, Strategy, str], float] = {}
    events: dict[tuple[str, Strategy], int] = {}
    stress: pl.DataFrame | None = None
    for number in range(count):
        _, fine, quarters, hours = make(number, days)
        grid = Grid.of(quarters, START, end)
        stress = setups.stress(grid.frame()) if stress is None else stress
        context = Context(stress, hours.select("open_time", "close"))
        tier = _TIERS[number % 3]
        for name, chosen in sets.items():
            for strategy, parameters in chosen.items():
                began = time.perf_counter()
                found = find_setups(strategy, grid, context, parameters, tier)
                at = [time.perf_counter()]
                plans, _ = make_plans(grid, found, parameters, tier)
                touch(grid, plans, parameters.horizon, lambda opens, fine=fine: minutes_inside(fine, opens))
                at.append(time.perf_counter())
                labels = label(
                    strategy, grid, found, parameters, tier, lambda opens, fine=fine: minutes_inside(fine, opens)
                )
                at.append(time.perf_counter())
                events[name, strategy] = events.get((name, strategy), 0) + labels.height
                for what, took in (("setups", at[0] - began), ("barriers", at[1] - at[0]), ("labels", at[2] - at[1])):
                    seconds[name, strategy, what] = seconds.get((name, strategy, what), 0.0) + took
    bars = count * days * 96
    rows = []
    for (name, strategy), number in events.items():
        took = {what: seconds[name, strategy, what] for what in ("setups", "barriers", "labels")}
        rows.append(
            (
                name, strategy, f"{number:,}", f"{took['barriers'] / max(number, 1) * 1e6:.1f}",
                f"{took['labels'] / max(number, 1) * 1e6:.1f}", f"{took['setups'] / bars * 1e6:.2f}",
                f"{took['setups']:.2f}",
            )
        )  # fmt: skip
    total = sum(events.values())
    spent = {what: sum(v for key, v in seconds.items() if key[2] == what) for what in ("barriers", "labels", "setups")}
    rows.append(
        (
            "all", "", f"{total:,}", f"{spent['barriers'] / total * 1e6:.1f}", f"{spent['labels'] / total * 1e6:.1f}",
            f"{spent['setups'] / bars / len(events) * 1e6:.2f}", f"{spent['setups']:.2f}",
        )
    )  # fmt: skip
    table(
        ("parameters", "strategy", "events", "barriers µs/event", "whole label µs/event", "setups µs/bar", "setups s"),
        rows,
    )


def beside_the_loop(parameters: Parameters, days: int) -> None:
    """The same labels by the tests' reference, one event after the other in plain Python."""
    _, fine, quarters, hours = make(1, days)
    plain = [as_bars(frame) for frame in (quarters, fine, hours, quarters)]
    end = START + timedelta(days=days)
    grid = Grid.of(quarters, START, end)
    context = Context(setups.stress(grid.frame()), hours.select("open_time", "close"))
    found = find_setups(Strategy.DCA, grid, context, parameters, "large")
    began = time.perf_counter()
    ours = label(Strategy.DCA, grid, found, parameters, "large", lambda opens: minutes_inside(fine, opens))
    took = time.perf_counter() - began
    dumped = parameters.model_dump(mode="json")
    seen = reference.dca_setups(plain[0], plain[3], dumped)
    began = time.perf_counter()
    until = int(end.timestamp() * 1000)
    costs = parameters.costs.factor("large")
    usable = [one for one in seen if one["signal"] in set(ours["signal_ts"].to_physical())]
    for one in usable:
        reference.one_label(one, "dca", plain[0], plain[1], dumped, "large", costs, until)
    loop = time.perf_counter() - began
    equal(ours, reference.labels("dca", *plain, dumped, "large", until), "dca")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=90)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    np.seterr(all="ignore")
    sets = parameter_sets(LOOSE)
    print(f"{machine()}\n\n{options.instruments} instruments × {options.days} days of 15m bars\n")
    measure(options.instruments, options.days, sets)
    beside_the_loop(sets["loose"][Strategy.DCA], min(options.days, 60))  # type: ignore[arg-type]
    if options.store:
        through_the_store(options.instruments, options.days, {"default": sets["default"], "loose": sets["loose"]})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory of this process {peak:.2f} GiB")


if __name__ == "__main__":
    main()
