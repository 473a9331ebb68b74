"""A forecast by HTTP, by Python and by the command: the same figures, and the same refusals in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

import crypto_pipeline
from crypto_pipeline import Reader
from crypto_pipeline.api.app import create_app
from crypto_pipeline.cli.app import main
from crypto_pipeline.forecasts.stored.update import bring_up_to_date
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.forecast_market import later, store_market


@pytest.fixture
def market(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    crypto_pipeline._readers.clear()
    with Store(postgres_url) as store:
        store_market(store)
        yield store
    crypto_pipeline._readers.clear()


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    out, err = capsys.readouterr()
    return int(str(ended.value.code)), out, err


def test_every_way_to_a_forecast_gives_the_same(market: Store, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = command(capsys, "forecasts", "build")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "1h: 2 series fitted, 2 forecasts published"
    python = crypto_pipeline.forecast("BTC-USDT", "1d")
    assert (python.stale, python.forecast.direction) == (False, "HOLD")
    with TestClient(create_app(Reader(market.url))) as client:
        http: dict[str, Any] = client.get("/forecasts/BTC-USDT", params={"horizon": "1d"}).json()
        assert client.get("/forecasts/BTC-USDT?horizon=2d").status_code == 422
        assert client.get("/forecasts/BTC-USDT?horizom=1d").json()["detail"].startswith("unknown parameter 'horizom'")
        unknown = client.get("/forecasts/BTX-USDT")
        assert (unknown.status_code, "BTX-USDT" in unknown.json()["detail"]) == (404, True)
    code, out, _ = command(capsys, "forecast", "btc-usdt", "--horizon", "1d", "--json")
    assert code == 0
    spoken = json.loads(out)
    for one in (http, spoken):
        one.pop("as_of")  # each was asked at a time of its own
        assert one.pop("age_s") < 60
    assert http == spoken
    steps = [{**row, "target": row["target"].isoformat().replace("+00:00", "Z")} for row in python.forecast.rows()]
    assert http["steps"] == steps
    assert "exponential smoothing was not tried" in http["why"]
    code, out, _ = command(capsys, "forecast", "BTC-USDT")
    assert code == 0
    assert out.startswith("BTC-USDT 1h: HOLD from 100.")
    assert "naive: " in out.splitlines()[1]


def test_what_is_refused_is_refused_by_name_everywhere(market: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with TestClient(create_app(Reader(market.url)), raise_server_exceptions=False) as client:
        none = client.get("/forecasts/BTC-USDT")
        assert (none.status_code, "no forecast of BTC-USDT for 1h yet" in none.json()["detail"]) == (404, True)
    bring_up_to_date(market)
    later(market, timedelta(minutes=50))
    with TestClient(create_app(Reader(market.url)), raise_server_exceptions=False) as client:
        old = client.get("/forecasts/BTC-USDT")
        assert (old.status_code, "BTC-USDT for 1h is" in old.json()["detail"]) == (503, True)
    with pytest.raises(crypto_pipeline.StoreError, match="the forecast of BTC-USDT for 1h is"):
        crypto_pipeline.forecast("BTC-USDT")
    code, out, err = command(capsys, "forecast", "BTC-USDT")
    assert (code, out) == (1, "")
    assert err.startswith("error: the forecast of BTC-USDT for 1h is 3,")
    code, _, err = command(capsys, "forecasts", "accuracy")
    assert (code, err) == (0, "no forecast has expired yet: nothing is known of their accuracy\n")
