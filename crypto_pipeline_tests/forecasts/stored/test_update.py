"""The way of a forecast through the store: fitted, published once, anchored to the last price, scored once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from crypto_pipeline.forecasts.answer import ForecastRefusedError, NoForecastError
from crypto_pipeline.forecasts.horizons import ForecastHorizon
from crypto_pipeline.forecasts.stored.reading import read_forecast
from crypto_pipeline.forecasts.stored.update import bring_up_to_date
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline_tests.builders.forecast_market import NOW, later, random_walk, store_closes, store_market


@pytest.fixture
def market(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as store:
        store_market(store)
        yield store


def test_a_forecast_is_published_once_and_anchored_to_the_last_price(market: Store) -> None:
    report = bring_up_to_date(market)
    assert report.published == {**dict.fromkeys(map(str, ForecastHorizon), 2), "release": 0}
    assert (report.fits.new, report.fits.lacking) == (6, {})
    again = bring_up_to_date(market)
    assert (again.fits.new, again.published) == (0, report.published)
    assert market.connections.row("SELECT count(*) FROM research.forecasts") == (6,)

    first = read_forecast(market, "btc-usdt")
    assert not first.stale
    assert first.age_s < 5
    (close,) = market.reader.newest(["BTC-USDT"], Timeframe.M1, 1)["close"]
    assert first.forecast.price == close
    hours = [row["target"] for row in first.forecast.rows()]
    noon = Timeframe.H1.floor(NOW)
    assert first.forecast.moment == noon
    assert hours == [noon + timedelta(hours=step) for step in range(1, 25)]
    last = first.forecast.rows()[-1]
    assert last["low_95"] < last["low_80"] < last["median"] == close < last["high_80"] < last["high_95"]
    weeks = [row["target"] for row in read_forecast(market, "BTC-USDT", "1w").forecast.rows()]
    assert weeks == [Timeframe.D1.floor(NOW) + timedelta(days=7 * step) for step in range(1, 5)]


def test_an_old_answer_is_stale_and_then_refused_by_name(market: Store) -> None:
    bring_up_to_date(market)
    later(market, timedelta(seconds=330))  # a price holds for 300 s
    found = read_forecast(market, "BTC-USDT")
    assert found.stale
    assert 329 < found.age_s < 345
    later(market, timedelta(seconds=370))
    with pytest.raises(ForecastRefusedError, match=r"BTC-USDT for 1h is 3\d\d s old, of 360 s at most"):
        read_forecast(market, "BTC-USDT")
    assert read_forecast(market, "DOGE-USDT").forecast.model == "naive", "cold: 600 s, refused after 1,800 s"


def test_a_new_price_does_not_make_a_forecast_of_old_bars_new(market: Store) -> None:
    bring_up_to_date(market)
    now = later(market, timedelta(minutes=65))
    store_closes(market, {"BTC-USDT": random_walk(1)}, Timeframe.M1, now)
    with pytest.raises(ForecastRefusedError, match="its newest bar closed at 2026-03-05 12:00 UTC"):
        read_forecast(market, "BTC-USDT")


def test_what_is_wrong_is_named(market: Store) -> None:
    with pytest.raises(ValueError, match="unknown horizon '2h': use one of 1h, 1d, 1w"):
        read_forecast(market, "BTC-USDT", "2h")
    with pytest.raises(StoreError, match="unknown instrument 'BTX-USDT'"):
        read_forecast(market, "BTX-USDT")
    with pytest.raises(NoForecastError, match="no forecast of BTC-USDT for 1d yet"):
        read_forecast(market, "BTC-USDT", "1d")
