"""Three sources in one deployment: each killed, banned or rate-limited alone leaves the others as fresh as they are.

Guards I3 (docs/invariants.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest

from crypto_pipeline.healing import Deployment
from crypto_pipeline.healing.macro.sync import sync_macro
from crypto_pipeline.market.instruments import Instrument
from crypto_pipeline.market.macro.series import choose_series
from crypto_pipeline.replay import ReplayExchange, running_exchange
from crypto_pipeline.replay.massive.generated import GeneratedStocks
from crypto_pipeline.replay.massive.server import MassiveServer, Plan
from crypto_pipeline.replay.massive.tape import Stock
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.venues.massive import rest
from crypto_pipeline_tests.builders.massive_beside import massive_beside
from crypto_pipeline_tests.builders.massive_server import KEY

#: A Friday in the session of New York.
NOW = datetime(2026, 11, 20, 16, 0, 40, tzinfo=UTC)
VENUES = ("replay", "replay_standby", "massive")
FAULTS = {
    "killed": {"kind": "outage", "manner": "refuse"},
    "banned": {"kind": "rate_limit", "status": 418, "retry_after": 3600},
    "rate-limited": {"kind": "rate_limit", "status": 429, "retry_after": 3600},
}
#: Of Massive: 403, and 429 for every request.
PLANS = {"banned": Plan(expired=True), "rate-limited": Plan(requests=-1)}
#: Every pair of source and fault is in bench/isolation.py; here the quick ones, and one of each kind.
CASES = (*((venue, "killed") for venue in VENUES), ("massive", "banned"), ("replay_standby", "rate-limited"))
#: Nothing listens there.
DEAD = "http://127.0.0.1:1"


@dataclass
class ThreeSources:
    exchanges: dict[str, ReplayExchange]
    massive: MassiveServer
    url: str
    store: Store
    settings: Settings

    def set_clock(self, now: datetime) -> None:
        for each in (*self.exchanges.values(), self.massive):
            each.clock.set(now=now, speed=0)

    def fault(self, source: str, fault: str) -> None:
        if source == "massive" and fault == "killed":
            self.settings = self.settings.model_copy(update={"massive_url": DEAD})
        elif source == "massive":
            self.massive.plans[KEY] = PLANS[fault]
        else:
            self.exchanges[source].control(FAULTS[fault])

    def mend(self) -> None:
        self.settings = self.settings.model_copy(update={"massive_url": self.url})
        self.massive.plans[KEY] = Plan()
        for exchange in self.exchanges.values():
            exchange.clear_faults()
        # instead of waiting for the end of the pause that the venue demanded
        self.store.connections.run(lambda connection: connection.execute("DELETE FROM ops.venue_budgets").rowcount)

    def fresh(self) -> dict[str, bool]:
        """One pass over all venues; then by venue whether it answers and its series are fresh."""

        async def work() -> dict[str, bool]:
            with Store(self.store.url) as store:  # as every run has its own
                async with Deployment.open(store, self.settings, VENUES) as deployment:
                    await deployment.backfill(NOW - timedelta(hours=1), None)
                    _, _, outcomes = await deployment.freshness()
                    assert {one.subject for one in outcomes} == set(VENUES), "every venue is judged"
                    return {venue: all(one.passed for one in outcomes if one.subject == venue) for venue in VENUES}

        return asyncio.run(work())


@pytest.fixture
def three(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreeSources]:
    monkeypatch.setattr(rest, "_NEXT_MINUTE", 3600.0)  # Massive does not say for how long; as the others here
    with ExitStack() as stack:
        exchanges = {
            venue: stack.enter_context(
                running_exchange("generated", now=NOW, weight_limit=0, seed=seed, instruments="BTCUSDT")
            )
            for seed, venue in enumerate(VENUES[:2], 1)
        }
        tape = GeneratedStocks([Stock("JPM", date(2026, 11, 12))])
        massive, url = stack.enter_context(massive_beside(tape, NOW))
        store = stack.enter_context(Store(postgres_url))
        store.instruments.add(
            [
                Instrument.crypto("BTC-USDT").model_copy(update={"venue": "replay"}),
                Instrument.crypto("BTC-USDT@replay_standby"),
                Instrument.stock("JPM").model_copy(update={"venue": "massive"}),
            ]
        )
        settings = Settings(
            replay_port=exchanges["replay"].port, replay_standby_port=exchanges["replay_standby"].port, massive_url=url,
            massive_key=KEY, massive_feed="realtime", massive_requests_per_minute=60_000, days=1, heal_backoff=0.001,
            request_attempts=1, request_timeout=4.0,
        )  # fmt: skip
        made = ThreeSources(exchanges, massive, url, store, settings)
        made.set_clock(NOW)

        async def collect() -> None:
            async with Deployment.open(store, settings, VENUES) as deployment:
                await deployment.sync_instruments()
                await deployment.backfill()
                await deployment.backfill()

        asyncio.run(collect())
        yield made


def test_each_source_that_fails_alone_leaves_the_others_fresh(three: ThreeSources) -> None:
    now = NOW
    assert three.fresh() == dict.fromkeys(VENUES, True)
    for source, fault in CASES:
        now += timedelta(minutes=10)
        three.set_clock(now)
        three.fault(source, fault)
        assert three.fresh() == {venue: venue != source for venue in VENUES}, (source, fault)
        three.mend()
    assert three.fresh() == dict.fromkeys(VENUES, True), "all catch up"


def test_macro_series_that_are_rate_limited_leave_every_venue_fresh(three: ThreeSources) -> None:
    """FRED is at the address of the first venue here: even so, its pause is not the venue's."""
    three.store.macro.choose(choose_series("default"))
    settings = three.settings.model_copy(update={"macro_source": "replay"})
    three.set_clock(NOW + timedelta(minutes=10))
    three.exchanges["replay"].control(FAULTS["rate-limited"] | {"endpoint": "fred"})
    rows = three.store.macro.series()
    report = asyncio.run(sync_macro(three.store, settings, rows))
    assert set(report.problems) == {row.name for row in rows}
    paused = three.store.connections.rows("SELECT DISTINCT venue FROM ops.venue_budgets WHERE paused_until > now()")
    assert paused == [("fred",)]
    assert three.fresh() == dict.fromkeys(VENUES, True)
