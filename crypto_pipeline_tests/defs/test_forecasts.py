"""Forecasts in Dagster, run for real: fitted, published, scored, checked, with their charts."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import pytest

from crypto_pipeline.definitions import defs
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.forecast_market import later, random_walk, store_closes, store_market


@pytest.fixture
def market(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    with Store(postgres_url) as store:
        store_market(store)
        yield store


def run(instance: dg.DagsterInstance) -> tuple[dict[str, dict[str, object]], dict[str, tuple[bool, str | None]]]:
    """The metadata of each asset, and its checks."""
    done = defs().resolve_job_def("make_forecasts").execute_in_process(instance=instance, raise_on_error=False)
    assert done.success
    events = done.get_asset_materialization_events()
    shown = {
        event.asset_key.to_user_string(): {k: v.value for k, v in event.materialization.metadata.items()}
        for event in events
        if event.asset_key is not None
    }
    checks = {one.check_name: (one.passed, one.description) for one in done.get_asset_check_evaluations()}
    return shown, checks


def test_forecasts_are_made_scored_and_shown(market: Store) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        shown, checks = run(instance)
        assert shown["forecasts"]["dagster/row_count"] == 6
        assert "exponential smoothing was not tried" in str(shown["forecasts"]["candidates"])
        for horizon in ("1h", "1d", "1w"):
            assert _pixels(str(shown["forecasts"][f"chart_{horizon}"]))[:2] == (256, 640)
        assert shown["forecast_scores"]["scored"] == 0
        assert "nothing is known of their accuracy" in str(shown["forecast_scores"]["note"])
        assert {name for name, (passed, _) in checks.items() if not passed} == set()

        day = later(market, timedelta(hours=24))
        store_closes(market, {"BTC-USDT": random_walk(24, 3)}, Timeframe.H1, Timeframe.H1.floor(day))
        shown, checks = run(instance)
        assert shown["forecast_scores"]["scored"] == 1
        assert _pixels(str(shown["forecast_scores"]["coverage"]))[0] > 100
        assert checks["forecasts_fresh"][0] is False, "the bars of DOGE-USDT do not arrive"
        assert checks["forecasts_fresh"][1] == "1 of 6 series have no forecast of their newest 3 closes"
        assert "forecasts_fresh" in set(market.checks.open_alerts()["source"])


def _pixels(markdown: str) -> tuple[int, ...]:
    from matplotlib.image import imread

    found = re.search(r"base64,([A-Za-z0-9+/=]+)", markdown)
    assert found is not None
    return tuple(imread(io.BytesIO(base64.b64decode(found[1])), format="png").shape)
