"""Replays of trading: seconds for months of many instruments with risk and ledger, all variants, and the page.

    python bench/replay_trading.py [--instruments 90] [--days 180] [--wide]

Bars of 15m, 1h and 4h are generated and stored in a PostgreSQL of its own. One replay reads them, finds the signals of
all strategies, decides, books and values every moment. With --wide the parameters find a hundred times as many signals.
The portfolio of 10,000 trades is asked as the HTTP interface asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
from common import database, load, machine, numbers, postgres, table

from crypto_pipeline.market import Instrument, Timeframe, roll_up_all
from crypto_pipeline.market.instruments import Tier
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.ops.reports.trading_page import book_page
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store, migrate
from crypto_pipeline.trading.shadow.ledgers import ShadowMarket, shadow_ledgers
from crypto_pipeline.trading.stored.accounts.portfolio import PortfolioReader
from crypto_pipeline.trading.stored.production import production_parameters
from crypto_pipeline.trading.stored.replay import replay_trading
from crypto_pipeline.trading.stored.signal_inputs import read_signals
from crypto_pipeline_tests.builders.label_market import START, minutes
from crypto_pipeline_tests.builders.trading_market import FREQUENT, book

_TIERS = list(Tier)[:3]
_WIDTHS = (Timeframe.M15, Timeframe.H1, Timeframe.H4)


def fill(store: Store, count: int, days: int) -> int:
    """Store the market; returns the number of 15m bars."""
    names = ["BTC-USDT", *(f"COIN{number:02d}-USDT" for number in range(1, count))]
    store.instruments.add([Instrument.crypto(name, _TIERS[place % 3]) for place, name in enumerate(names)])
    total = 0
    for number, name in enumerate(names):
        for timeframe, bars in roll_up_all(minutes(name, days, number), _WIDTHS).items():
            store.bars.write(bars, timeframe)
            total += bars.height if timeframe is Timeframe.M15 else 0
    return total


def seconds(work: Callable[[], Any]) -> tuple[str, Any]:
    """Seconds of the clock and of this process's processor time, and what ``work`` returns."""
    begun, used = time.perf_counter(), time.process_time()
    found = work()
    return f"{time.perf_counter() - begun:.2f} s | {time.process_time() - used:.2f} s", found


def spread(work: Callable[[], Any], times: int) -> str:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - begun))
    return f"p50 {np.percentile(taken, 50):.1f} ms, p99 {np.percentile(taken, 99):.1f} ms of {times}"


def measure(store: Store, settings: Settings, days: int) -> None:
    start, end = START + timedelta(days=7), START + timedelta(days=days)
    replay_trading(store, settings, end - timedelta(days=30), end, variant="TRAILING")  # loads compiled loops
    whole, made = seconds(lambda: replay_trading(store, settings, start, end))
    reading, inputs = seconds(lambda: read_signals(store, settings, start, end))
    market = ShadowMarket(inputs.panel, inputs.signals, inputs.strategies, inputs.minutes)
    champion = production_parameters(store, settings)
    alone, _ = seconds(lambda: shadow_ledgers(market, champion, unix_ms(start), names=["CHAMPION"]))
    nine, every = seconds(lambda: shadow_ledgers(market, champion, unix_ms(start)))
    page, html = seconds(lambda: book_page(made.book, made.title))
    rows = [
        ("replay", whole, "≤ 10 s"),
        ("of it: bars read, signals found", reading, ""),
        ("of it: paths, decisions, ledger, equity", alone, ""),
        (f"all {len(every)} variants, from bars that are read", nine, "≤ 30 s with the reading"),
        (f"page with charts, {len(html) / 1e3:.0f} kB", page, ""),
    ]
    table(("", "clock", "processor", "goal"), rows)
    events = made.simulation.fills.height + made.simulation.orders.height + made.simulation.decisions.height
    print(
        f"{made.signals.height} signals, {made.simulation.trades.height} trades, {made.simulation.equity.height} "
        f"moments, {events} events of orders, fills and decisions; load {load()}"
    )


def portfolio(store: Store, days: int, many: int) -> None:
    """The account of ``many`` trades or more, as it is shown: a wide set of which every signal is taken."""
    settings = load_settings(label_parameters=FREQUENT)
    champion = production_parameters(store, settings).changed({"limits": False, "order_size": 1})
    start, end = START + timedelta(days=7), START + timedelta(days=days)
    made = replay_trading(store, settings, end - timedelta(days=9), end, parameters=champion)
    trades = made.simulation.trades.sort("exit_ts").tail(many)
    print(f"{made.simulation.trades.height} trades within 9 days, of which {trades.height} are stored")
    whole = replay_trading(store, settings, start, end, instruments=["BTC-USDT"])  # for its moments
    kept = replace(
        made.simulation, trades=trades, equity=whole.simulation.equity, orders=made.simulation.orders.clear(),
        fills=made.simulation.fills.clear(), postings=made.simulation.postings.clear(),
    )  # fmt: skip
    book(store, replace(made, simulation=kept))
    reader = PortfolioReader(store, settings)
    first, _ = seconds(lambda: reader.portfolio(200))
    print(f"portfolio, first read of a process, {kept.equity.height} moments: {first}")
    print(f"portfolio again: {spread(lambda: reader.portfolio(200), 300)}")
    print(f"newest 100 trades: {spread(lambda: reader.trades(100), 300)}")


def main() -> None:
    parser = numbers(__doc__, instruments=90, days=180)
    parser.add_argument("--wide", action="store_true")
    given = parser.parse_args()
    settings = load_settings(label_parameters=FREQUENT if given.wide else {})
    print(machine())
    with postgres() as server, database(server, "replay_bench") as url:
        migrate(url)
        with Store(url) as store:
            bars = fill(store, int(given.instruments), int(given.days))
            print(f"{bars:,} 15m bars stored, load {load()}")
            measure(store, settings, int(given.days))
            portfolio(store, int(given.days), 10_000)


if __name__ == "__main__":
    main()
