"""What a person sees of readers and answers: small, without a password; and the same rows in pandas and Arrow."""

from __future__ import annotations

import pickle
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import crypto_pipeline
from crypto_pipeline import Reader
from crypto_pipeline.forecasts.answer import Forecast, ForecastAnswer
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.host.ports import free_port
from crypto_pipeline.reading import Answer
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.bars import START, bar, frame
from crypto_pipeline_tests.reading.test_processes import in_child

SPAN: dict[str, Any] = {"start": START, "end": START + timedelta(hours=1)}


@pytest.fixture
def filled(store: Store) -> Store:
    store.bars.write(frame([bar(symbol, START + n * timedelta(minutes=1)) for symbol in ("BTC-USDT", "ETH-USDT")
                            for n in range(40)]), Timeframe.M1)  # fmt: skip
    return store


def forecast_answer() -> ForecastAnswer:
    import numpy as np

    targets = tuple(START + timedelta(hours=step) for step in range(1, 25))
    changes = np.linspace(-0.02, 0.03, 24 * 5).reshape(24, 5)
    one = Forecast("BTC-USDT", "1h", START, "ets", "smallest loss", 100.0, START, targets, changes)
    return ForecastAnswer(one, START, 3.0, False)


def test_a_reader_says_which_database_it_reads_and_what_is_there(filled: Store, reader: Reader) -> None:
    password = reader.store.url.split("@")[0].rpartition(":")[2]
    page = reader._repr_html_()
    assert repr(reader).startswith("<Reader of postgresql://")
    assert password not in repr(reader) + page
    assert "1m" in page
    assert page.count(">80<") == 1, "bars of both instruments"


def test_a_reader_is_shown_while_nothing_answers() -> None:
    with Reader(f"postgresql://me:secret@127.0.0.1:{free_port('127.0.0.1')}/nowhere") as away:
        page = away._repr_html_()
    assert "Reader of postgresql://me@127.0.0.1" in page
    assert "secret" not in page
    assert page.count("<p>") == 2, "the reason is the second line"


def test_an_empty_database_says_what_starts_it(store: Store, reader: Reader) -> None:
    for symbol in reader.symbols():
        store.instruments.remove(symbol)
    assert "crypto-pipeline up" in reader._repr_html_()


def test_answers_are_one_line_and_a_small_frame(filled: Store, reader: Reader) -> None:
    answer = reader.cached.bars("BTC-USDT", "1m", **SPAN)
    for shown, page, said in (
        (repr(answer), answer._repr_html_(), "40 rows, 10 columns, as of "),
        (repr(forecast_answer()), forecast_answer()._repr_html_(), "Forecast of BTC-USDT, horizon 1h: "),
    ):
        assert said in shown.splitlines()[0]
        assert len(shown.splitlines()) <= 32
        assert said in page.split("</p>")[0]
        assert "<table" in page
    assert repr(Answer(b"a body", datetime.now(UTC))).startswith("<Answer: bytes, as of")


def test_answers_are_the_same_in_pandas_and_arrow(filled: Store, reader: Reader) -> None:
    for answer in (reader.cached.bars(["BTC-USDT", "ETH-USDT"], "1m", **SPAN), forecast_answer()):
        whole = answer.to_polars()
        assert whole.height > 20
        assert pl.DataFrame(answer.to_arrow()).equals(whole)
        times = [name for name, dtype in whole.schema.items() if isinstance(dtype, pl.Datetime)]
        assert [str(answer.to_pandas()[name].dtype) for name in times] == ["datetime64[ms, UTC]"] * len(times) > []
        assert pl.from_pandas(answer.to_pandas()).cast(whole.schema).equals(whole)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"use \.value"):
        Answer(b"a body", datetime.now(UTC)).to_polars()  # type: ignore[misc]


def test_without_pandas_the_message_names_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'crypto-pipeline\[notebook\]'"):
        forecast_answer().to_pandas()


def test_answers_are_pickled(filled: Store, reader: Reader) -> None:
    answer = reader.cached.bars("BTC-USDT", "1m", **SPAN)
    again = pickle.loads(pickle.dumps(answer))
    assert again.value.equals(answer.value)
    assert (again.as_of, again.version) == (answer.as_of, answer.version)
    assert pickle.loads(pickle.dumps(forecast_answer())).to_polars().equals(forecast_answer().to_polars())


def test_in_a_forked_child_answers_convert_and_long_calls_refuse(filled: Store, reader: Reader) -> None:
    """They would wait for ever for Polars' threads, which a child does not have."""
    answer = reader.cached.bars("BTC-USDT", "1m", **SPAN)
    expected: pa.Table = answer.to_arrow()
    pl.DataFrame({"a": [2, 1]}).sort("a")  # Polars' threads run

    def work() -> bool:
        assert answer.to_arrow().equals(expected)
        assert answer.to_pandas()["close"].tolist() == expected["close"].to_pylist()
        assert "40 rows" in repr(answer)
        assert "postgresql" in reader._repr_html_()
        for call in (
            lambda: crypto_pipeline.training_set("dca", START, START + timedelta(days=1)),
            lambda: crypto_pipeline.replay_trading(START, START + timedelta(days=1)),
        ):
            with pytest.raises(crypto_pipeline.StoreError, match="start workers by 'spawn'"):
                call()
        return True

    assert in_child(work) == 0


def test_threads_that_begin_together_share_one_reader(
    filled: Store, read_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", read_database)
    monkeypatch.setattr(crypto_pipeline, "_readers", {})
    made: list[Reader] = []
    closed: list[Reader] = []

    class Counted(Reader):
        def __init__(self, url: str, **options: Any) -> None:
            made.append(self)
            together.wait()  # every thread makes one before any of them is kept
            super().__init__(url, **options)

        def close(self) -> None:
            closed.append(self)
            super().close()

    monkeypatch.setattr("crypto_pipeline.reading.Reader", Counted)
    together = threading.Barrier(6)
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(crypto_pipeline.bars("BTC-USDT", "1m", **SPAN).height))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [40] * 6
    (kept,) = crypto_pipeline._readers.values()
    assert len(made) == 6
    assert set(made) - set(closed) == {kept}
    kept.close()
