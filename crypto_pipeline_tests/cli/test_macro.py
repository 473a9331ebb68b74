"""``macro``: what is listed, shown and asked for, and one line with the fix for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from crypto_pipeline.cli.commands import deployment
from crypto_pipeline.ops.supervision.programs import given_settings
from crypto_pipeline.replay import ReplayExchange
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.fred import NAMES, collect, fred_exchange, without_pace
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]


@pytest.fixture
def exchange(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplayExchange]:
    without_pace(monkeypatch)
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    with fred_exchange(fred_keys=["0" * 32]) as running, Store(postgres_url) as store:
        collect(store, running, monkeypatch)
        yield running


def test_series_are_asked_for_listed_and_shown(run: Run, exchange: ReplayExchange) -> None:
    code, out, err = run("macro", "list", "--json")
    assert (code, err) == (0, "")
    assert [row["because"] for row in json.loads(out)] == ["not collected yet"] * 5
    code, out, err = run("macro", "sync")
    assert (code, err) == (0, "")
    assert [line.partition(":")[0] for line in out.splitlines()] == list(NAMES)
    code, out, _ = run("macro", "sync", "cpi", "UNRATE")
    assert out == "CPI: unchanged\nUNEMPLOYMENT: unchanged\n"
    code, out, _ = run("macro", "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["CPI"]["newest_period"] == "2026-02-01"
    assert rows["CPI"]["next_release"] > "2026-04"
    assert rows["CPI"]["because"] == ""
    assert "next_release" in run("macro", "list")[1]
    code, out, _ = run("macro", "show", "CPI", "--start", "2025-12-01", "--format", "csv")
    assert [line.split(",")[1] for line in out.splitlines()[1:]] == ["2025-12-01", "2026-01-01", "2026-02-01"]
    code, out, _ = run("macro", "show", "CPI", "--start", "2025-12-01", "--as-of", "2026-02-01", "--format", "json")
    assert [row["period"] for row in json.loads(out)] == ["2025-12-01"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "CPII"], "unknown macro series 'CPII': did you mean CPI"),
        (["show", "CPI", "--start", "foo"], "start: cannot read the time 'foo'"),
        (["show", "CPI", "--prints", "last"], "unknown prints 'last': use one of latest, first, all"),
        (["show", "CPI", "--format", "xml"], "unknown format 'xml'"),
        (["sync", "DGS10"], "macro series 'DGS10' is not collected"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_with_the_fix(
    run: Run, exchange: ReplayExchange, arguments: list[str], said: str
) -> None:
    code, _, err = run("macro", *arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_no_series_no_key_and_a_wrong_key_are_said_with_the_fix(
    run: Run, exchange: ReplayExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_FRED_API_KEY", "f" * 32)
    code, out, _ = run("macro", "sync", "CPI")
    assert code == 1
    assert "FRED refuses the key (Bad Request. The value for variable api_key is not registered.)" in out
    assert "set CRYPTO_PIPELINE_FRED_API_KEY" in out
    assert "f" * 32 not in out
    monkeypatch.delenv("CRYPTO_PIPELINE_FRED_API_KEY")
    monkeypatch.setenv("CRYPTO_PIPELINE_MACRO_SOURCE", "fred")
    monkeypatch.setenv("CRYPTO_PIPELINE_FRED_URL", exchange.url)
    monkeypatch.setenv("CRYPTO_PIPELINE_MACRO_SERIES", "CPI,NOPE")
    code, out, err = run("macro", "sync")
    assert code == 1
    assert "CPI: " in out
    assert "NOPE: failed; FRED has no series 'NOPE'" in out
    assert err.startswith("note: without a key")
    monkeypatch.delenv("CRYPTO_PIPELINE_MACRO_SERIES")
    code, _, err = run("macro", "list")
    assert code == 2
    assert "--with-macro" in err
    assert err.count("\n") == 1


def test_with_macro_means_the_five_series_of_replay_unless_something_else_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def given(**settings: str) -> dict[str, str]:
        return deployment.macro_given(load_settings(data_dir=tmp_path, **settings))

    assert given() == {"macro_series": "default", "macro_source": "replay"}
    assert given(venue="binance") == {"macro_series": "default"}
    assert given(macro_series="CPI", macro_source="fred") == {}
    key = "f" * 32
    monkeypatch.setenv("CRYPTO_PIPELINE_FRED_API_KEY", key)
    settings = load_settings(data_dir=tmp_path, **given())
    assert given_settings(settings)["macro_series"] == "default"
    assert key not in str(given_settings(settings)), "programs have it from the environment, no file names it"
