"""A forecast is scored once, against the bars that came; accuracy is known from scores alone.

Guards I7 and I11 (docs/invariants.md).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest

from crypto_pipeline.forecasts.publication import steps_of
from crypto_pipeline.forecasts.stored.checks import check_scores, judged
from crypto_pipeline.forecasts.stored.scores import score_expired
from crypto_pipeline.forecasts.stored.update import bring_up_to_date
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.forecast_market import NOW, later, random_walk, store_closes, store_market

SCORES = "SELECT forecast_id, seen, pinball, inside_80, inside_95, scored_at FROM research.forecast_scores ORDER BY 1"


@pytest.fixture
def market(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as store:
        store_market(store, ("BTC-USDT",))
        bring_up_to_date(store)
        yield store


def test_it_is_scored_once_when_the_last_target_has_come(market: Store) -> None:
    (published,) = market.forecasts.newest(["BTC-USDT"], ["1h"], NOW - timedelta(days=1))
    day = later(market, timedelta(hours=24))
    came = published.anchor * np.exp(np.linspace(0.001, 0.2, 24))
    came[6] = np.nan  # a bar that never comes
    store_closes(market, {"BTC-USDT": came}, Timeframe.H1, Timeframe.H1.floor(day))
    assert score_expired(market, day) == 0, "one bar may still come"
    assert score_expired(market, day + timedelta(days=2)) == 1
    (first,) = market.connections.rows(SCORES)
    forecast_id, seen, pinball, inside_80, inside_95, _ = first
    assert forecast_id == published.forecast_id
    assert seen[6] is pinball[6] is inside_80[6] is None
    assert seen[23] == pytest.approx(0.2)
    quantiles = steps_of(published.quantiles)
    levels = np.array([0.025, 0.1, 0.5, 0.9, 0.975])
    away = 0.2 - quantiles[23]
    assert pinball[23] == pytest.approx(np.mean(np.where(away > 0, levels, levels - 1) * away))
    assert inside_80[23] is bool(quantiles[23, 1] <= 0.2 <= quantiles[23, 3])
    assert inside_95[0] is True

    # healed bars change nothing of what was scored, nor does another scoring
    store_closes(market, {"BTC-USDT": came * 2}, Timeframe.H1, Timeframe.H1.floor(day))
    assert score_expired(market, day + timedelta(days=2)) == 0
    assert market.connections.rows(SCORES) == [first]


def test_accuracy_comes_from_scores_alone(market: Store) -> None:
    assert market.forecasts.accuracy().is_empty(), "what was published and has not expired says nothing"
    assert [(one.passed, one.summary) for one in check_scores(market, NOW)] == [
        (True, "too few scores to judge: 0 moments")
    ] * 2
    day = later(market, timedelta(hours=24))
    store_closes(market, {"BTC-USDT": random_walk(24, 3)}, Timeframe.H1, Timeframe.H1.floor(day))
    assert score_expired(market, day) == 1
    accuracy = market.forecasts.accuracy()
    assert accuracy["horizon"].unique().to_list() == ["1h"]
    assert accuracy["step"].to_list() == list(range(1, 25))
    (seen,) = market.connections.rows("SELECT inside_80 FROM research.forecast_scores")
    assert accuracy["coverage_80"].to_list() == [float(one) for one in seen[0]]
    (row,) = judged(market.forecasts.scores_by_moment(NOW - timedelta(days=2))).to_dicts()
    assert row["coverage_80"] == pytest.approx(np.mean(seen[0]))


_SCORING = """
import sys
from datetime import datetime
from crypto_pipeline.forecasts.stored.scores import score_expired
from crypto_pipeline.forecasts.stored.update import bring_up_to_date
from crypto_pipeline.store import Store
with Store(sys.argv[1]) as store:
    store.clock.now()
    print("ready", flush=True)
    while True:
        bring_up_to_date(store)
        score_expired(store, datetime.fromisoformat(sys.argv[2]))
"""


def test_whatever_is_killed_nothing_is_published_or_scored_twice_or_in_part(market: Store) -> None:
    day = later(market, timedelta(hours=24))
    store_closes(market, {"BTC-USDT": random_walk(24, 3)}, Timeframe.H1, Timeframe.H1.floor(day))
    for wait in (0.0, 0.05, 0.2):
        child = subprocess.Popen(
            [sys.executable, "-c", _SCORING, market.url, (day + timedelta(days=3)).isoformat()],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(wait)
        child.kill()
        child.wait()
        child.stdout.close()
    bring_up_to_date(market)
    score_expired(market, day + timedelta(days=3))
    twice = "SELECT count(*) - count(DISTINCT (horizon, moment)) FROM research.forecasts"
    assert market.connections.row(twice) == (0,)
    # of today, and those of the fixture
    assert market.connections.row("SELECT count(*), count(DISTINCT horizon) FROM research.forecasts") == (4, 3)
    lengths = (
        "SELECT DISTINCT cardinality(seen), cardinality(pinball), cardinality(inside_80) FROM research.forecast_scores"
    )
    assert market.connections.rows(lengths) == [(24, 24, 24)]
