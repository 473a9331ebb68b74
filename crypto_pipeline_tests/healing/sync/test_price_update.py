"""Price updates of a venue without a stream: stored whether or not anyone reads, and moved into history once.

Guards I1, I7 and I8 (docs/invariants.md).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from crypto_pipeline.healing.sync.known_bars import move_known
from crypto_pipeline.healing.sync.price_update import LOOK_BACK, update_prices
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.massive.server import Plan
from crypto_pipeline.store.database.connect import connect
from crypto_pipeline.venues import VenueError
from crypto_pipeline_tests.builders.massive_server import KEY
from crypto_pipeline_tests.healing.sync.conftest import MINUTE, NAMES, NOW, Stocks

M1 = Timeframe.M1
LAST = M1.floor(NOW)


def last_close(stocks: Stocks, name: str, end: datetime) -> tuple[datetime, float]:
    *_, newest = stocks.truth(name, end - timedelta(minutes=30), end)
    return datetime.fromtimestamp(newest[0] / 1000, NOW.tzinfo), newest[4]  # type: ignore[operator, return-value]


def test_an_update_stores_the_newest_minutes_and_the_price_of_each_instrument(stocks: Stocks) -> None:
    report = stocks.run(update_prices)
    assert not report.problems
    for name in NAMES:
        assert stocks.waiting(name) == stocks.truth(name, LAST - LOOK_BACK, LAST)
        assert stocks.prices()[name] == last_close(stocks, name, LAST)
    counts = report.of(M1)
    assert counts.inserted == counts.fetched == sum(len(stocks.waiting(name)) for name in NAMES)
    # A quarter of an hour later only what came since is asked for.
    later = NOW + timedelta(minutes=15)
    stocks.server.clock.set(now=later)
    stocks.server.requests.clear()
    again = stocks.run(update_prices).of(M1)
    assert again.planned <= 3 * 16
    assert sum("/v2/aggs/" in path for path in stocks.server.requests) == len(NAMES)
    for name in NAMES:
        assert stocks.waiting(name) == stocks.truth(name, LAST - LOOK_BACK, M1.floor(later))
        assert stocks.prices()[name] == last_close(stocks, name, M1.floor(later))
    assert stocks.run(update_prices).of(M1).planned <= len(NAMES), "nothing is asked for twice"


def test_a_price_is_stored_while_history_is_locked(stocks: Stocks) -> None:
    with connect(stocks.store.url) as other:
        other.autocommit = False
        other.execute("LOCK TABLE market.coverage, market.ohlc_revisions IN ACCESS EXCLUSIVE MODE")
        assert not stocks.run(update_prices).problems
        assert all(stocks.waiting(name) for name in NAMES)


def test_what_is_known_moves_into_history_without_the_venue_and_only_once(stocks: Stocks) -> None:
    stocks.run(update_prices)
    stocks.server.plans[KEY] = Plan(expired=True)

    async def move(pipeline: object) -> object:
        return move_known(pipeline)  # type: ignore[arg-type]

    report = stocks.run(move)
    for name in NAMES:
        assert stocks.stored(name, LAST - LOOK_BACK, LAST) == stocks.truth(name, LAST - LOOK_BACK, LAST)
        assert stocks.waiting(name) == []
    hour = LAST.replace(minute=0) - timedelta(minutes=30)
    assert stocks.store.reader.read(["JPM"], Timeframe.M5, hour, LAST).height >= 8
    assert report.of(Timeframe.M5).inserted >= 3 * 8  # type: ignore[attr-defined]
    assert stocks.run(move).nothing_to_do  # type: ignore[attr-defined]


def test_one_bad_instrument_costs_itself_and_no_answer_is_an_error(stocks: Stocks) -> None:
    def wrong(connection: object) -> None:
        connection.execute(  # type: ignore[attr-defined]
            "UPDATE market.listings SET venue_symbol = 'NOPE' WHERE instrument_id = "
            "(SELECT instrument_id FROM market.instruments WHERE symbol = 'IBM')"
        )

    stocks.store.connections.run(wrong)
    stocks.run(update_prices)
    assert set(stocks.prices()) == {"AAPL", "JPM"}
    stocks.server.plans[KEY] = Plan(expired=True)
    stocks.server.clock.set(now=NOW + timedelta(minutes=5))
    with pytest.raises(VenueError, match="does not include"):
        stocks.run(update_prices)
    assert set(stocks.prices()) == {"AAPL", "JPM"}


def test_a_closed_exchange_is_not_asked_and_history_gives_the_price(stocks: Stocks) -> None:
    stocks.run(lambda pipeline: pipeline.backfill())
    sunday = datetime(2024, 7, 7, 12, 0, 40, tzinfo=NOW.tzinfo)
    stocks.run(update_prices)
    expected = {name: last_close(stocks, name, LAST) for name in NAMES}
    assert stocks.prices() == expected
    evening = datetime(2024, 7, 6, 1, 0, 40, tzinfo=NOW.tzinfo)
    stocks.server.clock.set(now=evening)
    stocks.run(lambda pipeline: pipeline.backfill())
    stocks.server.clock.set(now=sunday)
    stocks.server.requests.clear()
    assert stocks.run(update_prices).of(M1).planned == 0
    assert not any("/v2/aggs/" in path for path in stocks.server.requests)
    closed = datetime(2024, 7, 6, 0, 0, tzinfo=NOW.tzinfo)
    assert stocks.prices() == {name: last_close(stocks, name, closed) for name in NAMES}


def test_a_later_statement_of_a_minute_replaces_the_earlier_in_any_order(stocks: Stocks) -> None:
    stocks.run(update_prices)
    updates = stocks.store.price_updates
    first = updates.waiting("massive", 10)
    newer = first.with_columns(close=first["close"] + 1, revision=first["revision"] + MINUTE)
    assert updates.keep(newer) == 10
    assert updates.keep(first) == 0
    assert updates.waiting("massive", 10).equals(newer)
    assert updates.drop(first) == 0, "what was stated anew meanwhile stays"
    assert updates.drop(newer) == 10
