"""Four sources in one deployment, each killed, banned and rate-limited alone: how fresh the others stay.

    python bench/isolation.py [--seconds 20] [--every 5] [--only massive]

Two crypto venues and FRED are replay exchanges, stocks come from the replay of Massive; all four run in this process,
at a moment in the session. As in a deployment, what works on bars works on all venues in one pass; price updates and
macro series have passes of their own. Passes follow each other every `--every` seconds, in a deployment every 5 and 15
minutes: a source that held up another by seconds would be seen. `overdue`: the most that a minute of a venue was late,
beyond the moment at which it is expected, by the venues' clocks, which run four times as fast as ours. Of macro series:
the longest time between two syncs of all series, in seconds of ours.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from common import database, machine, numbers, postgres, table

from crypto_pipeline.healing import Deployment, Pipeline
from crypto_pipeline.healing.checks.freshness import Thresholds, ages
from crypto_pipeline.healing.macro.sync import sync_macro
from crypto_pipeline.healing.sync.price_update import update_prices
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.macro.series import choose_series
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay import ReplayExchange, VirtualClock, running_exchange
from crypto_pipeline.replay.massive.generated import GeneratedStocks
from crypto_pipeline.replay.massive.server import MassiveServer, Plan
from crypto_pipeline.replay.massive.tape import Stock
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues import make_venue
from crypto_pipeline_tests.builders.background import Background

KEY = "a-key-of-this-bench"
NOW = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)  # a Friday
STOCKS = ("AAPL", "JPM", "MSFT", "NVDA", "TSLA")
PAIRS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
#: Seconds of the venues' clocks in one of ours.
SPEED = 4
VENUES = ("replay", "replay_standby", "massive")
FAULTS = ("killed", "banned", "rate-limited")


class MassiveBeside:
    """The replay of Massive in a thread, which can be stopped and started at the same port."""

    def __init__(self) -> None:
        tape = GeneratedStocks([Stock(name, (NOW - timedelta(days=30)).date()) for name in STOCKS])
        self.server = MassiveServer(tape, VirtualClock(start=NOW, speed=SPEED), {KEY: Plan()})
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._runner = web.AppRunner(self.server.application())
        self._do(self._runner.setup())
        self.port = 0
        self.start()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def start(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        self._do(self._site.start())
        self.port = self._runner.addresses[0][1]

    def stop(self) -> None:
        self._do(self._site.stop())


def fault_of_exchange(exchange: ReplayExchange, fault: str) -> None:
    exchange.control(
        {
            "killed": {"kind": "outage", "manner": "refuse"},
            "banned": {"kind": "rate_limit", "status": 418, "retry_after": 600},
            "rate-limited": {"kind": "rate_limit", "status": 429, "retry_after": 60},
        }[fault]
    )


def fault_of_massive(massive: MassiveBeside, fault: str) -> None:
    if fault == "killed":
        massive.stop()
    else:
        massive.server.plans[KEY] = Plan(expired=True) if fault == "banned" else Plan(requests=1)


@dataclass
class Measured:
    """The most that each source was late while one case lasted, seconds; and the passes that were done."""

    late: dict[str, float] = field(default_factory=dict)
    passes: int = 0
    longest_pass: float = 0.0


class Sources:
    """The deployment: settings, loops of passes, and how late each source is."""

    def __init__(self, url: str, options: Any, stack: ExitStack) -> None:
        self.url, self.options = url, options
        pairs = ",".join(pair.replace("-", "") for pair in PAIRS)
        exchange = {"now": NOW, "speed": SPEED, "weight_limit": 0, "instruments": pairs}
        self.first = stack.enter_context(running_exchange("generated", **exchange))
        self.second = stack.enter_context(running_exchange("generated", seed=2, **exchange))
        self.fred = stack.enter_context(running_exchange("generated", **{**exchange, "instruments": "BTCUSDT"}))
        self.massive = MassiveBeside()
        self.settings = Settings(
            replay_port=self.first.port, replay_standby_port=self.second.port, massive_key=KEY, days=1,
            massive_url=f"http://127.0.0.1:{self.massive.port}", massive_feed="realtime",
            massive_requests_per_minute=60_000, replay_speed=SPEED,
        )  # fmt: skip
        self.macro = Settings(replay_port=self.fred.port, macro_source="replay", macro_series="default")
        self.synced = time.monotonic()
        self.measured = Measured()

    def collect(self) -> None:
        with Store(self.url) as store:
            rows = [Instrument.crypto(pair).model_copy(update={"venue": "replay"}) for pair in PAIRS]
            rows += [Instrument.crypto(f"{pair}@replay_standby") for pair in PAIRS]
            rows += [Instrument.stock(name).model_copy(update={"venue": "massive"}) for name in STOCKS]
            store.instruments.add(rows)
            store.macro.choose(choose_series("default"))

            async def fill() -> None:
                async with Deployment.open(store, self.settings, VENUES) as deployment:
                    await deployment.sync_instruments()
                    await deployment.backfill()
                    await deployment.backfill()

            asyncio.run(fill())
            asyncio.run(sync_macro(store, self.macro, store.macro.series()))
            long_ago = "UPDATE market.instruments SET added_at = %s"
            store.connections.run(lambda connection: connection.execute(long_ago, [NOW - timedelta(days=9)]).rowcount)

    # The passes

    def _loop(self, stopping: threading.Event, work: Callable[[Store], Any]) -> None:
        while not stopping.is_set():
            begun = time.monotonic()
            try:
                with Store(self.url) as store:  # as every run has its own
                    work(store)
            except Exception as error:  # a run that fails; the next one comes in time
                print(f"  {type(error).__name__}: {str(error)[:100]}", flush=True)
            stopping.wait(max(0.0, self.options.every - (time.monotonic() - begun)))

    def bars(self, store: Store) -> None:
        async def work() -> None:
            async with Deployment.open(store, self.settings, VENUES) as deployment:
                await deployment.backfill(NOW, None)

        begun = time.monotonic()
        asyncio.run(work())
        self.measured.passes += 1
        self.measured.longest_pass = max(self.measured.longest_pass, time.monotonic() - begun)

    def prices(self, store: Store) -> None:
        async def work() -> None:
            async with Pipeline.open(store, self.settings.at("massive", first=False), live=True) as pipeline:
                await update_prices(pipeline)

        asyncio.run(work())

    def series(self, store: Store) -> None:
        report = asyncio.run(sync_macro(store, self.macro, store.macro.series()))
        if not report.problems:
            self.synced = time.monotonic()

    def look(self, store: Store, pipelines: dict[str, Pipeline]) -> None:
        limits = Thresholds.of(self.settings)
        for venue, pipeline in pipelines.items():
            horizon = pipeline.horizon_at(self.first.clock.now())
            late = ages(store, Timeframe.M1, horizon, limits, venue)["overdue"].max()
            assert isinstance(late, timedelta)
            self.measured.late[venue] = max(self.measured.late.get(venue, 0.0), late.total_seconds())
        since = time.monotonic() - self.synced
        self.measured.late["fred"] = max(self.measured.late.get("fred", 0.0), since)

    @contextmanager
    def running(self) -> Iterator[Callable[[float], Measured]]:
        """All passes; gives a function that measures for so many seconds."""
        background = Background([])
        loops = [
            lambda work=work: self._loop(background.stopping, work) for work in (self.bars, self.prices, self.series)
        ]
        background._threads = [threading.Thread(target=loop, daemon=True) for loop in loops]

        def measure(seconds: float) -> Measured:
            self.measured, until = Measured(), time.monotonic() + seconds
            with Store(self.url) as store:
                chosen = {
                    venue: Pipeline(store, make_venue(self.settings, venue=venue), self.settings.at(venue, first=False))
                    for venue in VENUES
                }
                while time.monotonic() < until:
                    self.look(store, chosen)
                    time.sleep(0.5)
            return self.measured

        with background:
            yield measure

    def fault(self, source: str, fault: str) -> None:
        if source == "massive":
            fault_of_massive(self.massive, fault)
        else:
            fault_of_exchange({"replay": self.first, "replay_standby": self.second, "fred": self.fred}[source], fault)

    def mend(self, source: str, fault: str) -> None:
        for exchange in (self.first, self.second, self.fred):
            exchange.clear_faults()
        self.massive.server.plans[KEY] = Plan()
        if (source, fault) == ("massive", "killed"):
            self.massive.start()
        with Store(self.url) as store:  # instead of waiting for the end of the pause that was demanded
            store.connections.run(
                lambda connection: connection.execute("UPDATE ops.venue_budgets SET paused_until = NULL").rowcount
            )


def main() -> None:
    parser = numbers(__doc__, seconds=20, every=5)
    names = [*VENUES, "fred"]
    parser.add_argument("--only", choices=names, action="append", help="the sources that fail; default: each")
    options = parser.parse_args()
    with postgres() as server, database(server, "isolation") as url, ExitStack() as stack:
        sources = Sources(url, options, stack)
        sources.collect()
        rows = []
        with sources.running() as measure:
            measure(15)  # until all of them go round
            cases = [("", ""), *((source, fault) for source in options.only or names for fault in FAULTS)]
            for source, fault in cases:
                if source:
                    sources.fault(source, fault)
                found = measure(options.seconds)
                if source:
                    sources.mend(source, fault)
                shown = [
                    f"**{found.late[name]:.0f}**" if name == source else f"{found.late[name]:.0f}" for name in names
                ]
                rows.append([f"{source} {fault}".strip() or "none", *shown, found.passes, f"{found.longest_pass:.0f}"])
                print(rows[-1], flush=True)
                measure(15)  # until the source has caught up
    print(f"\n{machine()}\n")
    table(["fault", *(f"{name}, overdue s" for name in names), "passes over bars", "longest pass s"], rows)


if __name__ == "__main__":
    main()
