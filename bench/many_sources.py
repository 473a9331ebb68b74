"""Two venues with 600 instruments, a year of days and 30 days of minutes: planning, syncing, storing prices.

    python bench/many_sources.py [--stocks 500] [--crypto 100] [--days 365] [--minute-days 30] [--repeats 5]

Goals: to plan where nothing is to be done in 2 s, to store the prices of an update of 600 instruments in 0.5 s, and the
251 daily bars of a new symbol in 1 s. The history is random and written as it is; whoever asks a venue for bars while
nothing is to be done fails. Prices and the new symbol are served by the replay of Massive, in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import numpy as np
import polars as pl
from common import database, load, machine, numbers, postgres, table

from crypto_pipeline.healing import Deployment, Pipeline
from crypto_pipeline.healing.sync.history import sync_history
from crypto_pipeline.healing.sync.known_bars import move_known
from crypto_pipeline.healing.sync.price_update import update_prices
from crypto_pipeline.market.bars import as_bars
from crypto_pipeline.market.calendars import ALWAYS, get_calendar
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.massive.generated import GeneratedStocks
from crypto_pipeline.replay.massive.tape import Stock
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import ListingRow, Store
from crypto_pipeline.venues import make_venue
from crypto_pipeline_tests.builders.massive_beside import massive_beside
from crypto_pipeline_tests.builders.massive_server import KEY

M1, D1 = Timeframe.M1, Timeframe.D1
#: A Friday in the session of New York; the history of a year begins on a Monday.
NOW = datetime(2024, 7, 5, 17, 30, 40, tzinfo=UTC)
DEAD = "http://127.0.0.1:1"


def settings_of(venue: str, options: argparse.Namespace, url: str = DEAD) -> Settings:
    kept = {str(one): 0 if one in (D1, Timeframe.W1) else options.minute_days for one in Timeframe}
    return Settings(
        venue=venue, replay_port=1, massive_url=url, massive_key=KEY, massive_feed="realtime", days=options.days,
        massive_requests_per_minute=60_000, keep_hot_days=kept, keep_days=kept, request_attempts=1,
    )  # fmt: skip


def bars(name: str, opens: np.ndarray[Any, Any], width: timedelta, rng: np.random.Generator) -> pl.DataFrame:
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.001, len(opens))))
    frame = pl.DataFrame({"open_time": opens, "open": closes, "high": closes, "low": closes, "close": closes})
    moment = pl.col("open_time").cast(pl.Datetime("ms", "UTC"))
    return as_bars(
        frame.with_columns(
            moment, (moment + width).alias("revision"), pl.lit(name).alias("instrument"), pl.lit(1.0).alias("volume"),
            pl.lit("venue_historical").alias("source"), pl.lit(True).alias("complete"),
        )
    )  # fmt: skip


def opens(calendar: str, timeframe: Timeframe, start: datetime, end: datetime) -> np.ndarray[Any, Any]:
    """Every open time at which a bar is expected, Unix milliseconds."""
    width = timeframe.milliseconds
    spans = get_calendar(calendar).spans(timeframe, start, end)
    edges = [(int(low.timestamp()) * 1000, int(high.timestamp()) * 1000) for low, high in spans]
    return np.concatenate([np.arange(low, high, width) for low, high in edges])


def fill(store: Store, options: argparse.Namespace) -> None:
    """Instruments, their listings, minutes of the newest days and days of a year; wider bars follow by roll-up."""
    stocks = [f"S{n:03d}" for n in range(options.stocks)]
    pairs = [f"C{n:03d}-USDT" for n in range(options.crypto)]
    begin = Timeframe.W1.floor(NOW - timedelta(days=options.days))
    minutes_from = D1.floor(NOW) - timedelta(days=options.minute_days)
    rng = np.random.default_rng(1)
    groups = [("massive", "XNYS", stocks, Instrument.stock), ("replay", ALWAYS.name, pairs, Instrument.crypto)]
    for venue, calendar, names, new in groups:
        store.instruments.add(new(name).model_copy(update={"venue": venue}) for name in names)
        store.instruments.set_listings(
            venue, [ListingRow(name, name.replace("-", ""), begin - timedelta(days=7)) for name in names]
        )
        days, minutes = opens(calendar, D1, begin, minutes_from), opens(calendar, M1, minutes_from, M1.floor(NOW))
        for part in (names[n : n + 50] for n in range(0, len(names), 50)):
            store.bars.write(pl.concat(bars(name, days, D1.delta, rng) for name in part), D1)
            store.bars.write(pl.concat(bars(name, minutes, M1.delta, rng) for name in part), M1)
    store.heartbeats.beat("corporate_actions:massive", "synced", {"asked": dict.fromkeys(stocks, NOW.isoformat())})
    store.connections.run(lambda connection: connection.execute("ANALYZE") and None)


@contextmanager
def deployment(store: Store, options: argparse.Namespace) -> Iterator[Deployment]:
    pipelines = []
    for number, venue in enumerate(("massive", "replay")):
        settings = settings_of(venue, options).at(venue, first=not number)
        pipelines.append(Pipeline(store, make_venue(settings, store.budgets.of(venue)), settings, NOW))
    yield Deployment(store, settings_of("massive", options), pipelines)


def seconds(work: Callable[[], Any], repeats: int) -> list[float]:
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return taken


def shown(taken: list[float]) -> list[str]:
    return [f"{taken[0]:.3f}", f"{median(taken[1:] or taken):.3f}", f"{max(taken[1:] or taken):.3f}", load()]


def nothing_to_do(store: Store, options: argparse.Namespace) -> list[list[str]]:
    with deployment(store, options) as made:
        begin = time.perf_counter()
        report = asyncio.run(made.backfill())
        rolled = time.perf_counter() - begin
        if report.problems or report.still_missing:
            raise SystemExit(f"the history is not complete: {report.as_dict()}")
        print(f"rolled up in {rolled:.0f} s")

        def plan() -> None:
            if not asyncio.run(made.backfill()).nothing_to_do:
                raise SystemExit("something to do")

        def sync() -> None:
            for pipeline in made.pipelines:
                report = asyncio.run(sync_history(pipeline))
                if report.behind or report.failure:
                    raise SystemExit(f"something to do: {report.as_dict()}")

        rows = [["plan, nothing to do, both venues", *shown(seconds(plan, options.repeats + 1)), "2"]]
        return [*rows, ["historical sync, nothing behind, both venues", *shown(seconds(sync, options.repeats + 1)), ""]]


def prices(store: Store, options: argparse.Namespace) -> list[list[str]]:
    names = [row.instrument.symbol for row in store.instruments.list()]
    rng, rows = np.random.default_rng(2), []
    for minutes in (1, 15):
        given = []
        for turn in range(options.repeats + 1):
            begin = int(M1.floor(NOW).timestamp() * 1000) + turn * minutes * 60_000
            times = np.arange(begin, begin + minutes * 60_000, 60_000)
            given.append(pl.concat(bars(name, times, M1.delta, rng) for name in names))
        turns = iter(given)
        taken = seconds(lambda turns=turns: store.price_updates.keep(next(turns)), options.repeats + 1)
        rows.append([f"prices of {len(names)} stored, {minutes} minutes of each", *shown(taken), "0.5"])

    async def move() -> None:
        with deployment(store, options) as made:
            for pipeline in made.pipelines:
                await asyncio.to_thread(move_known, pipeline)

    waiting = sum(store.price_updates.waiting(venue, 10**6).height for venue in ("massive", "replay"))
    taken = seconds(lambda: asyncio.run(move()), 1)
    return [*rows, [f"{waiting:,} of these minutes moved into history, wider bars too", *shown(taken), ""]]


def served(url: str, options: argparse.Namespace) -> list[list[str]]:
    """An update of all stocks, and a new symbol, from the replay of Massive."""
    began = NOW.date() - timedelta(days=options.days + 30)
    names = [f"S{n:03d}" for n in range(options.stocks)]
    tape = GeneratedStocks([Stock(name, began) for name in [*names, "NEWCO"]])
    with massive_beside(tape, NOW) as (_, address), Store(url) as store:
        store.instruments.add(Instrument.stock(name) for name in names)
        settings = settings_of("massive", options, address)

        async def run(work: Callable[[Pipeline], Awaitable[Any]]) -> Any:
            async with Pipeline.open(store, settings, live=True) as pipeline:
                return await work(pipeline)

        asyncio.run(run(lambda pipeline: pipeline.sync_instruments()))
        tape.minutes("S000", NOW.date(), NOW.date())
        taken = seconds(lambda: asyncio.run(run(update_prices)), 1)
        rows = [[f"update of {len(names)} stocks: asked, served, stored", *shown(taken), ""]]
        stored = store.price_updates.waiting("massive", 10**6).height
        print(f"{stored:,} minutes stored by the update")
        tape.days("NEWCO", began, NOW.date())  # made once: what is measured is not the making
        store.instruments.add([Instrument.stock("NEWCO")])
        asyncio.run(run(lambda pipeline: pipeline.sync_instruments()))
        taken = seconds(lambda: asyncio.run(run(lambda pipeline: pipeline.backfill(None, None, ["NEWCO"], [D1]))), 1)
        count = store.reader.read(["NEWCO"], D1, NOW - timedelta(days=options.days + 7), NOW).height
        return [*rows, [f"a new symbol: {count} daily bars asked, served, stored", *shown(taken), "1"]]


def main() -> None:
    options = numbers(__doc__, stocks=500, crypto=100, days=365, minute_days=30, repeats=5).parse_args()
    with postgres() as server, database(server, "many") as url:
        with Store(url) as store:
            begin = time.perf_counter()
            fill(store, options)
            size = store.size_bytes() / 2**30
            print(f"filled in {time.perf_counter() - begin:.0f} s, {size:.1f} GiB")
            rows = nothing_to_do(store, options)
            count = int(store.coverage.summary().filter(timeframe="1m")["present"][0])
            rows += prices(store, options)
        with database(server, "served") as other:
            rows += served(other, options)
    print(f"\n{machine()}\n\n{options.stocks + options.crypto} instruments, {count:,} 1m bars\n")
    table(["", "first s", "median s", "most s", "load", "goal s"], rows)


if __name__ == "__main__":
    main()
