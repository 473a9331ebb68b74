"""The next release of a macro series: forecast from what was public, scored against its first value."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from crypto_pipeline.forecasts.answer import ForecastRefusedError
from crypto_pipeline.forecasts.stored.reading import read_forecast
from crypto_pipeline.forecasts.stored.releases import score_releases
from crypto_pipeline.forecasts.stored.update import bring_up_to_date
from crypto_pipeline.market.macro.series import choose_series, next_period
from crypto_pipeline.market.macro.vintages import Availability, Vintage
from crypto_pipeline.store import Store

FIRST = date(2015, 1, 1)


def vintages(count: int) -> list[Vintage]:
    """An index that grows by half a percent a month, published on the 12th of the month after; the last is revised."""
    rng, found, period, value = np.random.default_rng(4), [], FIRST, 200.0
    for _ in range(count):
        value *= math.exp(0.005 + rng.normal(0, 0.0005))
        came = next_period(period, "M") + timedelta(days=11)
        found.append(Vintage(period, round(value, 3), came, None))
        period = next_period(period, "M")
    return found


def test_the_next_release_is_forecast_and_scored_against_its_first_value(postgres_url: str) -> None:
    stated = vintages(131)
    before = stated[-2].start + timedelta(days=5)
    now = datetime(before.year, before.month, before.day, tzinfo=UTC)
    with Store(postgres_url) as store:
        store.macro.choose(choose_series("CPI"))
        store.clock.learn("replay", now, 1.0)
        available = Availability("America/Chicago", now)
        store.macro.write("CPIAUCSL", stated[:-1], available, frequency="M", units="Index 1982-1984=100")
        report = bring_up_to_date(store)
        assert (report.published["release"], report.fits.lacking) == (1, {})
        assert bring_up_to_date(store).fits.new == 0

        found = read_forecast(store, "cpi")
        assert found.forecast.model == "drift", found.forecast.why
        (step,) = found.forecast.rows()
        assert step["direction"] == "UP"
        assert step["low_95"] < (stated[-1].value or 0) < step["high_95"]
        assert step["target"].date() >= stated[-1].start
        with pytest.raises(ValueError, match="unknown horizon"):
            read_forecast(store, "CPI", "2h")

        after = now + timedelta(days=40)
        store.clock.learn("replay", after, 1.0)
        assert score_releases(store, after) == 0, "the value has not come"
        store.clock.now()
        with pytest.raises(ForecastRefusedError, match="CPI for release"):
            read_forecast(store, "CPI")
        store.macro.write("CPIAUCSL", stated, Availability("America/Chicago", after))
        assert score_releases(store, after) == 1
        assert score_releases(store, after) == 0
        ((seen, inside),) = store.connections.rows("SELECT seen[1], inside_95[1] FROM research.forecast_scores")
        assert seen == pytest.approx(math.log((stated[-1].value or 0) / (stated[-2].value or 0)))
        assert inside is True
