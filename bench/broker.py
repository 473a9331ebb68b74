"""The paper broker against labels, and accounts on random streams: whole, where the tests are short.

    python bench/broker.py labels [--instruments 90] [--days 180]     every label, booked without limits
    python bench/broker.py streams [--count 100000] [--restarts 400]  laws of the ledger at every event, and restarts
        [--seconds 7200]
    python bench/broker.py fold                                       microseconds of the fold per event

``labels`` takes every setup of the sets default, loose, wide and narrow on generated bars with their minutes: each must
be booked with its label's outcome, end, prices and net return, exactly, and the sums of money must come to the same
return (1e-13). ``streams`` checks each stream with plain loops that know nothing of the fold
(crypto_pipeline_tests/oracles/ledger.py). Two processes; seconds are of processor time.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import fields
from datetime import timedelta
from typing import Any

import polars as pl
from common import load, machine, numbers, table

from crypto_pipeline.arrays.grid import COLUMNS
from crypto_pipeline.arrays.panel import Panel
from crypto_pipeline.labels.compute import SetupContext, find_setups, label
from crypto_pipeline.labels.intrabar import KeptMinutes, minutes_of
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.strategies.base import TIMEFRAME
from crypto_pipeline.labels.strategies.dca import halts
from crypto_pipeline.market import Timeframe, roll_up_all
from crypto_pipeline.trading.account import AccountState
from crypto_pipeline.trading.ledger.records import Simulation
from crypto_pipeline.trading.marks import Marks
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.paths import trade_paths
from crypto_pipeline.trading.signals import signals_of
from crypto_pipeline.trading.simulate import simulate
from crypto_pipeline_tests.builders.label_market import START, minutes
from crypto_pipeline_tests.builders.trade_streams import moments, trade_stream
from crypto_pipeline_tests.labels.comparison import OWN
from crypto_pipeline_tests.oracles.ledger import broken_laws

SETS = parameter_sets(OWN)
#: Column of a trade by column of a label.
SAME = {
    "outcome": "outcome", "label_end_ts": "exit_ts", "entry_ts": "entry_ts", "entry_px": "entry_price",
    "exit_px": "exit_price", "net_return": "net_return", "take_profit": "take_profit_price",
    "stop_loss": "stop_loss_price", "ambiguous": "ambiguous",
}  # fmt: skip
FREE = TradingParameters(limits=False)
FRAMES = [one.name for one in fields(Simulation) if one.name not in ("state", "positions")]


def of_instrument(number: int, days: int) -> tuple[Counter[str], Counter[str], float, int]:
    """Events by set and strategy, differences by column, seconds of booking, and fills of one instrument."""
    name, tier = ("BTC-USDT" if number == 0 else f"COIN{number:02d}-USDT"), ("large", "mid", "meme")[number % 3]
    bars = minutes(name, days, number, START)
    rolled = roll_up_all(bars, (Timeframe.M15, Timeframe.H1))
    end = START + timedelta(days=days)

    def panel(timeframe: Timeframe) -> Panel:
        return Panel.from_bars(
            rolled[timeframe].select("instrument", "open_time", *COLUMNS), [name], START, end, timeframe
        )

    quarters, tiers = panel(TIMEFRAME), {name: tier}
    context = SetupContext(halts(quarters.close[0]), panel(Timeframe.H1))
    source, marks = minutes_of(quarters, {name: KeptMinutes.from_bars(bars)}), Marks(quarters)
    events: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    seconds, fills = 0.0, 0
    for set_name, chosen in SETS.items():
        for strategy, parameters in chosen.items():
            setups = find_setups(strategy, quarters, context, parameters, tiers)
            expected = label(strategy, quarters, setups, parameters, tiers, source).filter(
                pl.col("outcome").is_not_null()
            )
            signals = signals_of(strategy, quarters, setups, tiers, parameters.hash)
            began = time.process_time()
            paths = trade_paths(quarters, signals, FREE, chosen, source)
            made = simulate(signals, paths, marks, FREE, AccountState.begin(FREE, quarters.grid.first))
            seconds, fills = seconds + time.process_time() - began, fills + made.fills.height
            events[f"{set_name} {strategy}"] += expected.height
            wrong.update(differences(made.trades, expected))
    return events, wrong, seconds, fills


def differences(trades: pl.DataFrame, expected: pl.DataFrame) -> Counter[str]:
    """How many trades differ from their label, by column."""
    booked, stated = trades.sort("signal_ts"), expected.sort("signal_ts")
    if not booked["signal_ts"].equals(stated["signal_ts"]):
        return Counter({"events": abs(booked.height - stated.height) or 1})
    found = Counter({of: int((booked[of].ne_missing(stated[name])).sum()) for name, of in SAME.items()})
    returns = booked["pnl"].cast(pl.Float64) / booked["paid"].cast(pl.Float64) - booked["net_return"]
    found["sums of money"] = int((returns.abs() > 1e-13).sum())
    return +found


def of_streams(first: int, until: int, restarts: int) -> tuple[Counter[str], list[str]]:
    """Events of the streams of some seeds, and what does not hold; the first ``restarts`` are restarted everywhere."""
    seen: Counter[str] = Counter()
    broken: list[str] = []
    for seed in range(first, until):
        stream = trade_stream(seed, bars=96)
        made = stream.run()
        broken += [f"seed {seed}: {words}" for words in broken_laws(made, stream.panel, stream.parameters)]
        seen.update(streams=1, fills=made.fills.height, decisions=made.decisions.height, moments=made.equity.height)
        seen.update(made.decisions["limit_name"].drop_nulls().to_list())
        if seed - first < restarts:
            parts, state = [], None
            for moment in moments(stream):
                parts.append(stream.run(state, moment))
                state = parts[-1].state
            same = [name for name in FRAMES
                    if not pl.concat([getattr(part, name) for part in parts]).equals(getattr(made, name))]  # fmt: skip
            broken += [f"seed {seed}: restarts change {name}" for name in same]
            seen.update(restarts=len(parts))
    return seen, broken


def each(work: Callable[..., Any], tasks: list[tuple[Any, ...]]) -> list[Any]:
    """The answers of all tasks, by two processes."""
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(work, *zip(*tasks, strict=True)))


def measure_labels(instruments: int, days: int) -> int:
    began = time.monotonic()
    found = each(of_instrument, [(number, days) for number in range(instruments)])
    events, wrong, seconds, fills = Counter[str](), Counter[str](), 0.0, 0
    for part in found:
        events, wrong, seconds, fills = events + part[0], wrong + part[1], seconds + part[2], fills + part[3]
    table(["set and strategy", "events"], [[name, count] for name, count in sorted(events.items())])
    took = f"{time.monotonic() - began:.0f} s; booking {seconds:.0f} s of processor time"
    print(f"{sum(events.values()):,} events, {fills:,} fills, {took}, all marks included; load {load()}")
    print("differences:", dict(wrong) or "none")
    return 1 if wrong else 0


def measure_streams(count: int, restarts: int, seconds: int) -> int:
    """Streams until there are ``count`` of them or ``seconds`` are over."""
    began, piece = time.monotonic(), 250
    tasks = iter(
        [(first, min(first + piece, count), -(-restarts * piece // count)) for first in range(0, count, piece)]
    )
    seen, broken = Counter[str](), []
    with ProcessPoolExecutor(2) as pool:
        running = {pool.submit(of_streams, *task) for task in itertools.islice(tasks, 2)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                seen, broken = seen + one.result()[0], broken + one.result()[1]
            if time.monotonic() - began < seconds:
                running |= {pool.submit(of_streams, *task) for task in itertools.islice(tasks, len(done))}
    table(["what", "how often"], [[name, number] for name, number in sorted(seen.items())])
    print(f"{time.monotonic() - began:.0f} s, load {load()}; broken laws: {len(broken)}", *broken[:5], sep="\n")
    return 1 if broken else 0


def measure_fold() -> int:
    """The fold alone, frames included; the middle of five. What an event costs is what a run takes more than one
    without signals, per decision and fill.
    """
    rows, empty = [], 0.0
    wide = {"max_open": 60, "per_instrument": 60, "max_exposure": 60.0, "max_open_risk": 60.0}
    for name, count, own in (("no signal", 1, {}), ("five open at most", 3_000, {}), ("sixty open", 3_000, wide)):
        calm = {"daily_loss": 0.99, "weekly_loss": 0.99, "drawdown_halt": 0.98, "drawdown_reset": 0.99,
                "capital": 10_000_000, "max_open": 5, "stops_in_row": 20, "cooldown_hours": _NO_HOURS}  # fmt: skip
        stream = trade_stream(7, bars=9_000, signals=count, **(calm | own))
        paths, marks = stream.paths(), Marks(stream.panel)
        start, took = AccountState.begin(stream.parameters, stream.panel.grid.first), []
        for _ in range(5):
            began = time.process_time()
            made = simulate(stream.signals, paths, marks, stream.parameters, start)
            took.append(time.process_time() - began)
        middle = sorted(took)[2]
        empty = empty or middle
        events = made.fills.height + made.decisions.height
        cost = f"{(middle - empty) / events * 1e6:.1f}" if count > 1 else ""
        rows.append([name, made.equity.height, made.decisions.height, made.fills.height, f"{middle * 1e3:.0f}", cost])
    table(["account", "moments", "decisions", "fills", "ms", "µs an event"], rows)
    return 0


_NO_HOURS = {"large": 0, "mid": 0, "meme": 0}


def main() -> None:
    parser = numbers(__doc__, instruments=90, days=180, count=100_000, restarts=400, seconds=7_200)
    parser.add_argument("what", choices=["labels", "streams", "fold"])
    asked = parser.parse_args()
    print(machine())
    if asked.what == "labels":
        sys.exit(measure_labels(asked.instruments, asked.days))
    if asked.what == "streams":
        sys.exit(measure_streams(asked.count, asked.restarts, asked.seconds))
    sys.exit(measure_fold())


if __name__ == "__main__":
    main()
