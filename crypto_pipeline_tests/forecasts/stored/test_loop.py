"""The loop: a forecast at every close, once; anchors by priority; one computation at a time; and any end of it.

Guards I7 and I11 (docs/invariants.md).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import numpy as np
import pytest

from crypto_pipeline.forecasts.answer import ForecastRefusedError
from crypto_pipeline.forecasts.horizons import ForecastHorizon
from crypto_pipeline.forecasts.publication import outlook
from crypto_pipeline.forecasts.stored import cache as caching
from crypto_pipeline.forecasts.stored import program
from crypto_pipeline.forecasts.stored.cache import ForecastCache
from crypto_pipeline.forecasts.stored.fit import fit_stored
from crypto_pipeline.forecasts.stored.fit_process import fit_apart
from crypto_pipeline.forecasts.stored.inputs import read_closes
from crypto_pipeline.forecasts.stored.loop import ForecastLoop
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.database.errors import DatabaseAwayError
from crypto_pipeline.store.database.sessions.pooler import DIRECT_VARIABLE, DatabaseUrl
from crypto_pipeline_tests.builders.forecast_market import NOW, later, random_walk, store_closes, store_market

COUNT = "SELECT count(*), count(DISTINCT (instrument_id, horizon, moment)) FROM research.forecasts"


@pytest.fixture
def market(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as store:
        store_market(store)
        yield store


def fit_here(store: Store, horizon: ForecastHorizon, names: Sequence[str], now: datetime) -> None:
    fit_stored(store, [horizon], names, now, smoothing=False)


def loop_of(store: Store, cache: ForecastCache | None = None) -> ForecastLoop:
    return ForecastLoop(store, cache, fit_here)


def _settle(loop: ForecastLoop) -> None:
    for _ in range(2):
        loop.tick(NOW)


def test_it_fits_what_has_no_fit_and_publishes_each_close_once(market: Store) -> None:
    cache = ForecastCache(market)
    loop = loop_of(market, cache)
    _settle(loop)
    assert market.connections.row(COUNT) == (6, 6)
    _settle(loop_of(market))  # one that was started again, or another one
    assert market.connections.row(COUNT) == (6, 6)
    assert cache.get("BTC-USDT").forecast.anchored_at == NOW

    # the bar of one instrument comes in time, that of the other late
    following = later(market, timedelta(minutes=55, seconds=10))
    store_closes(market, {"BTC-USDT": random_walk(1, 9)}, Timeframe.H1, following)
    loop.tick(following)
    assert market.connections.row(COUNT) == (7, 7)
    loop.tick(following + timedelta(seconds=5))
    assert market.connections.row(COUNT) == (7, 7)
    store_closes(market, {"DOGE-USDT": random_walk(1, 8)}, Timeframe.H1, following)
    loop.tick(following + timedelta(seconds=10))
    assert market.connections.row(COUNT) == (8, 8)
    newest = cache.get("DOGE-USDT").forecast
    assert newest.moment == Timeframe.H1.floor(following)


def test_a_fit_in_a_process_of_its_own_is_the_same(market: Store) -> None:
    fit_apart(market, ForecastHorizon.DAYS, ["BTC-USDT"], NOW)
    (apart,) = market.forecasts.fits(["1d"], NOW - timedelta(days=5))
    fit_here(market, ForecastHorizon.DAYS, ["BTC-USDT"], NOW)
    assert market.forecasts.version() == apart.fit_id, "the same fit is stored once"


def test_two_loops_side_by_side_publish_nothing_twice(market: Store) -> None:
    loops = [loop_of(market), loop_of(market)]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(_settle, loops))
    assert market.connections.row(COUNT) == (6, 6)


def test_equal_questions_are_computed_once_and_stale_answers_end(
    market: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _settle(loop_of(market))
    cache, asked, go = ForecastCache(market), [], threading.Event()
    real = caching.read_anchored

    def slowly(*args: object) -> object:
        asked.append(args)
        assert go.wait(10)
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(caching, "read_anchored", slowly)
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(cache.get, "BTC-USDT") for _ in range(8)]
        go.set()
        assert len({id(one.result().forecast) for one in answers}) == 1
    assert len(asked) == 1

    def away(*_: object) -> object:
        raise DatabaseAwayError("the database is away")

    monkeypatch.setattr(caching, "read_anchored", away)
    monkeypatch.setattr(caching, "_PAUSE", 0.0)
    assert not cache.get("BTC-USDT").stale
    later(market, timedelta(seconds=200))
    market.clock.now()
    assert cache.get("BTC-USDT").stale
    later(market, timedelta(seconds=400))
    market.clock.now()
    with pytest.raises(ForecastRefusedError, match="BTC-USDT"):
        cache.get("BTC-USDT")
    with pytest.raises(DatabaseAwayError):
        ForecastCache(market).get("BTC-USDT", "1d")


def test_a_forecast_of_a_later_close_can_be_made_again_from_the_store(market: Store) -> None:
    loop = loop_of(market)
    _settle(loop)
    following = later(market, timedelta(minutes=55, seconds=10))
    prices = random_walk(1, 9)
    store_closes(market, {"BTC-USDT": prices}, Timeframe.H1, following)
    loop.tick(following)
    (row,) = market.forecasts.newest(["BTC-USDT"], ["1h"], NOW - timedelta(days=1))
    assert row.anchor == pytest.approx(prices[-1])
    (fit,) = [one for one in market.forecasts.fits(["1h"], NOW - timedelta(days=1)) if one.series == "BTC-USDT"]
    horizon = ForecastHorizon.HOURS
    (closes,) = read_closes(market, ["BTC-USDT"], horizon, fit.fitted_to - horizon.timeframe.delta, row.moment)
    again = outlook(fit.model, fit.fit, closes.values[0], np.arange(1, 25))
    assert np.array_equal(again.quantiles.astype(np.float32).ravel(), np.array(row.quantiles, np.float32))
    assert np.all(np.diff(again.quantiles, axis=1) >= 0)
    assert again.direction == row.direction


def test_a_killed_loop_leaves_nothing_half_done_and_the_next_one_goes_on(market: Store) -> None:
    for horizon in ForecastHorizon:
        fit_here(market, horizon, ["BTC-USDT", "DOGE-USDT"], NOW)
    environment = {**os.environ, "CRYPTO_PIPELINE_DATABASE_URL": str(market.url)}
    if isinstance(market.url, DatabaseUrl):
        environment[DIRECT_VARIABLE] = market.url.direct
    holders = set()
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-m", program.__name__], env=environment, stderr=subprocess.DEVNULL)
        beat = "SELECT holder FROM ops.heartbeats WHERE name = 'forecasts'"
        while market.connections.rows(beat) != [(str(child.pid),)]:
            assert child.poll() is None
            time.sleep(0.02)  # until it has published: only the heartbeat tells
        child.kill()
        child.wait()
        holders.add(child.pid)
        assert market.connections.row(COUNT) == (6, 6)
    assert len(holders) == 2
    widths = "SELECT count(*) FROM research.forecasts WHERE cardinality(quantiles) <> 5 * cardinality(targets)"
    assert market.connections.row(widths) == (0,)
