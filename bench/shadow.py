"""The test of shadow variants: how often it recommends a change where no variant is better, and what it finds.

    python bench/shadow.py [--histories 2000] [--power] [--every-length] [--ledgers]

``--histories``: histories in which no variant is better (crypto_pipeline_tests/builders/shadow_histories.py), equally
of every kind and of 30, 60, 90 and 180 days; three strategies and eight variants each. ``--every-length``: a table by
kind and length. ``--power``: histories in which one variant of one strategy is better by a known size. ``--ledgers``:
histories from ledgers that the simulator made of all variants on 180 days of 24 generated instruments; the mean of each
difference is taken away, and days are drawn in blocks of ten, so that skewness and dependence are those of trades.
"""

from __future__ import annotations

import argparse
import math
import time
from itertools import cycle, islice, product
from typing import Any

import numpy as np
import polars as pl
from common import load, machine, table
from trading_engines import SETS, market

from crypto_pipeline.labels.strategies.registry import STRATEGIES
from crypto_pipeline.trading.marks import Marks
from crypto_pipeline.trading.parameters import TradingParameters
from crypto_pipeline.trading.shadow.comparison import DailyResult, compare
from crypto_pipeline.trading.shadow.ledgers import ShadowMarket, daily_outcomes, shadow_ledgers
from crypto_pipeline.trading.shadow.recommendation import recommend
from crypto_pipeline.trading.shadow.variants import CHAMPION, VARIANTS
from crypto_pipeline_tests.builders.shadow_histories import KINDS, history

_LENGTHS = (30, 60, 90, 180)


def recommended(kind: str, days: int, seed: int, edge: float = 0.0) -> dict[str, str]:
    """The variant recommended by strategy."""
    found = history(kind, days, seed, edge)
    compared = {strategy: compare(*results, seed=seed) for strategy, results in found.items()}
    return {strategy: each.variant for strategy, each in recommend(compared).items()}


def nulls(histories: int) -> None:
    """Mixed histories without a difference."""
    begun = time.perf_counter()
    chosen = islice(enumerate(cycle(product(KINDS, _LENGTHS))), histories)
    found = sum(bool(recommended(kind, days, seed)) for seed, (kind, days) in chosen)
    allowed = 0.05 + 2 * math.sqrt(0.05 * 0.95 / histories)
    print(f"{histories} histories without a difference: a change recommended in {found} ({found / histories:.2%}, "
          f"allowed {allowed:.2%}), {time.perf_counter() - begun:.0f} s")  # fmt: skip


def by_kind(histories: int) -> None:
    """Shares by kind and length."""
    rows = []
    for kind in KINDS:
        shares = [sum(bool(recommended(kind, days, seed)) for seed in range(histories)) for days in _LENGTHS]
        rows.append([kind, *(f"{share / histories:.2%}" for share in shares)])
    table(["kind", *(f"{days} days" for days in _LENGTHS)], rows)


def power(histories: int) -> None:
    """The share of histories in which the better variant is recommended, and the share of any other change."""
    rows = []
    for days, edge in ((30, 1.0), (60, 0.6), (90, 0.5), (90, 0.4), (180, 0.4), (180, 0.3)):
        for kind in ("normal", "wild", "losses"):
            found = [recommended(kind, days, seed, edge) for seed in range(histories)]
            right = sum(each.get("channel") == "V0" for each in found)
            wrong = sum(bool(set(each.items()) - {("channel", "V0")}) for each in found)
            rows.append([days, edge, kind, f"{right / histories:.1%}", f"{wrong / histories:.1%}"])
    table(["days", "difference a day, deviations", "kind", "found", "another change"], rows)


def ledgers() -> dict[str, pl.DataFrame]:
    """Daily results by strategy, a column per variant, of accounts that are never halted."""
    panel, signals = market(24, 180, list(STRATEGIES))
    calm = {"daily_loss": 0.99, "weekly_loss": 0.99, "drawdown_halt": 0.98, "drawdown_reset": 0.99}
    champion = TradingParameters().changed(calm)
    made = shadow_ledgers(ShadowMarket(panel, signals, SETS), champion, panel.grid.first)
    marks = Marks(panel)
    days = pl.concat(
        [
            daily_outcomes(one, marks, float(champion.capital)).with_columns(name=pl.lit(name))
            for name, one in made.items()
        ]
    )
    for name, part in days.group_by("name", maintain_order=True):
        print(name[0], dict(part.group_by("strategy", maintain_order=True).agg(pl.col("trades").sum()).iter_rows()))
    return {
        str(key[0]): part.pivot("name", index="day", values="net").sort("day")
        for key, part in days.group_by("strategy", maintain_order=True)
    }


def from_ledgers(histories: int) -> None:
    """Histories without a difference, drawn from what the simulator made."""
    sources = ledgers()
    begun, found, block = time.perf_counter(), 0, 10
    for seed in range(histories):
        rng, days = np.random.default_rng(seed), _LENGTHS[seed % len(_LENGTHS)]
        compared: dict[str, Any] = {}
        for strategy, frame in sources.items():
            starts = rng.integers(0, frame.height, -(-days // block))
            rows = ((starts[:, None] + np.arange(block)) % frame.height).ravel()[:days]
            champion = frame[CHAMPION].to_numpy()
            names = [name for name in VARIANTS if name != CHAMPION and strategy in map(str, VARIANTS[name].strategies)]
            apart = {name: frame[name].to_numpy() - champion for name in names}
            variants = {name: DailyResult((champion + each - each.mean())[rows], 300) for name, each in apart.items()}
            compared[strategy] = compare(DailyResult(champion[rows], 300), variants, seed)
        found += bool(recommend(compared))
    allowed = 0.05 + 2 * math.sqrt(0.05 * 0.95 / histories)
    share = f"{found} ({found / histories:.2%}, allowed {allowed:.2%})"
    print(f"{histories} histories from ledgers, without a difference: a change recommended in {share}, "
          f"{time.perf_counter() - begun:.0f} s, load {load()}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=2_000)
    parser.add_argument("--power", action="store_true")
    parser.add_argument("--every-length", action="store_true")
    parser.add_argument("--ledgers", action="store_true")
    arguments = parser.parse_args()
    print(machine())
    if arguments.power:
        power(arguments.histories)
    elif arguments.ledgers:
        from_ledgers(arguments.histories)
    elif arguments.every_length:
        by_kind(arguments.histories)
    else:
        nulls(arguments.histories)


if __name__ == "__main__":
    main()
