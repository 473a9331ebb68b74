"""A training set without rows says why, and what would give it some."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg
import pytest

import crypto_pipeline
from crypto_pipeline.features.stored.update import Universe
from crypto_pipeline.labels.stored.emptiness import why_empty
from crypto_pipeline.labels.stored.signals import Signals
from crypto_pipeline.labels.stored.training import EmptyTrainingSetWarning
from crypto_pipeline.labels.stored.update import bring_up_to_date
from crypto_pipeline.labels.strategies.base import Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Instrument
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.label_market import START, store_market
from crypto_pipeline_tests.cli.test_bad_input import Run, run
from crypto_pipeline_tests.labels.comparison import SETS

__all__ = ["run"]

DAYS = 12
END = START + timedelta(days=DAYS)
DCA = SETS["wide"][Strategy.DCA]


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as opened:
        yield opened


def why(
    store: Store,
    start: datetime = START,
    end: datetime = END,
    now: datetime = END,
    parameters: Parameters = DCA,
    benchmark: str | None = "BTC-USDT",
    ineligible: int = 0,
) -> str:
    signals = Signals(Strategy.DCA, parameters, start, end, now)
    return why_empty(store, signals, instruments=None, benchmark=benchmark, ineligible=ineligible)


def test_each_reason_is_named_with_what_suffices(store: Store) -> None:
    assert "no instrument of the tiers" in why(store)
    store.instruments.add([Instrument.crypto("BTC-USDT")])
    assert "no 15m bars are stored yet" in why(store)
    store_market(store, DAYS)
    assert "benchmark" in why(store, benchmark=None)
    assert "eligible_only=False" in why(store, ineligible=3)
    early = why(store, end=START + timedelta(days=4))
    assert "after 400 bars, from 2025-06-06 04:00 on" in early
    assert "bars are stored from 2025-06-02 to 2025-06-13" in early
    assert "Choose a span among them" in why(store, START - timedelta(days=9), START - timedelta(days=8))
    # The first label of a series comes after warm-up, one bar to enter at, and the horizon.
    soon = START + timedelta(days=7)
    assert "horizon of 288 bars has ended, here from 2025-06-09 04:15 UTC on" in why(store, now=soon)
    assert "instrument-days are not computed yet" in why(store)
    barely = why(store, end=START + timedelta(days=7, hours=12), now=START + timedelta(days=7, hours=12))
    assert "only signals from 2025-06-06 04:00 to 2025-06-06 11:45 UTC can have a label, with 400 bars" in barely
    assert "(4.2 days) and a horizon of 288 bars after them (3.0 days). Collect more days" in barely
    bring_up_to_date(store, Strategy.DCA, DCA, START, END, now=END)
    with psycopg.connect(store.url) as connection:
        recorded = connection.execute("SELECT min(recorded_at) FROM research.strategy_dca_labels").fetchone()
    assert recorded is not None
    assert f"the first at {recorded[0].astimezone(END.tzinfo):%Y-%m-%d %H:%M:%S} UTC" in why(store)
    never = DCA.model_copy(update={"fall": 0.9})
    bring_up_to_date(store, Strategy.DCA, never, START, END, now=END)
    assert "instrument-days has a setup" in why(store, parameters=never)
    # Labels whose horizon has not ended wait.
    last, until = START + timedelta(days=8), END + timedelta(days=1)
    with psycopg.connect(store.url) as connection:
        connection.execute("DELETE FROM research.strategy_dca_labels WHERE signal_ts >= %s", [last])
        connection.execute(
            "UPDATE research.label_cells SET waiting = 2, waits_until = %s WHERE day >= %s", [until, last]
        )
    waiting = why(store, start=last, end=last + timedelta(days=1))
    assert "8 setups wait for the end of their horizon, the next until 2025-06-15 00:00" in waiting


def test_python_warns_and_the_command_fails_without_a_file(
    store: Store, run: Run, use_database: Callable[[str], None], tmp_path: Path
) -> None:
    store_market(store, 6)
    use_database(store.url)
    with pytest.warns(EmptyTrainingSetWarning, match="instrument-days are not computed yet"):
        frame = crypto_pipeline.training_set("dca", START, START + timedelta(days=6))
    assert frame.is_empty()
    assert {"y", "rsi_14"} <= set(frame.columns)
    file = tmp_path / "dca.parquet"
    words = ("training-set", "build", "dca", "--start", "2025-06-02", "--end", "2025-06-08", "-o", str(file))
    code, _, error = run(*words, DATABASE_URL=store.url)
    assert code == 1
    assert "not computed yet" in error
    assert "Nothing was written" in error
    assert list(tmp_path.iterdir()) == []
    code, out, error = run(*words, "--allow-empty", DATABASE_URL=store.url)
    assert code == 0
    assert error.startswith("warning: no dca labels of signals")
    assert "0 rows" in out
    assert pl.read_parquet(file).equals(frame)


def test_a_set_with_rows_warns_of_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store_market(store, DAYS)
    bring_up_to_date(store, Strategy.DCA, DCA, START, END, now=END)
    assert Universe.from_store(store).benchmark == "BTC-USDT"
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", store.url)
    monkeypatch.setenv("CRYPTO_PIPELINE_LABEL_PARAMETERS", '{"wide": {"dca": {"fall": 0.012, "rsi_most": 60, '
                       '"volume_ratio": 0.5, "spacing": 3, "step": 0.004, "stop_below": 0.006}}}')  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert crypto_pipeline.training_set("dca", START, END, parameter_set="wide").height > 0
