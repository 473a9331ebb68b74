"""Predictions: in memory, with reading and storing, many at once, and after each bar of a whole market.

    python bench/predict.py [--predictions 5000] [--instruments 90]

The model is as large as a real one: 200 trees of 15 leaves of 11,000 events, isotonic calibration. "In memory" is one
row by the names of its inputs to probability and p*; "explained" also has the contributions. "Read and stored" reads
the row of features from PostgreSQL, predicts, explains and commits the prediction, durably. "After a bar" looks for the
setups of the newest bar of every instrument and predicts them, as ingest does after the features.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
from common import database, machine, postgres, table

from crypto_pipeline.features.compute import NAMES, ROW_SCHEMA, schema_hash
from crypto_pipeline.labels.parameters import parameter_sets
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market import Instrument, Timeframe, roll_up_all
from crypto_pipeline.market.instruments import Tier
from crypto_pipeline.models.inputs import input_matrix, input_names
from crypto_pipeline.models.learning.boosting import LearningRows, fit_calibrated
from crypto_pipeline.models.model import Model
from crypto_pipeline.models.predictor import Prediction, Predictor
from crypto_pipeline.models.settings import BoostingSettings
from crypto_pipeline.models.stored.champions import Champions
from crypto_pipeline.models.stored.predictions import PredictionTask, predict_setups, predict_span
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders import models as built
from crypto_pipeline_tests.builders.label_market import START, minutes
from crypto_pipeline_tests.models.stored.test_registry import add

DCA = Strategy.DCA
BAR = timedelta(minutes=15)
#: Parameters with which nearly every bar is a setup.
OFTEN = {"fall": 0.0001, "volume_ratio": 0.0, "rsi_max": 100.0, "spacing": 1}
_DAYS = 17
END = START + timedelta(days=_DAYS)


def large_model() -> Model:
    """A model of the size of a real one, that no null of the bench's rows is refused by."""
    names = input_names(DCA)
    rows = built.rows(DCA, 11_000, seed=1)
    matrix = input_matrix(rows, names)
    rng = np.random.default_rng(2)
    y = (np.nan_to_num(matrix[:, 0]) + 3 * rng.normal(size=len(matrix)) > 0).astype(np.float64)
    learned = LearningRows(matrix, y, np.ones(len(y)))
    fitted = fit_calibrated(learned, np.arange(9_000), np.arange(9_000, 11_000), names, BoostingSettings())
    probes = matrix[:64]
    return replace(
        built.model(DCA), text=fitted.booster.model_to_string(), calibrator=fitted.calibrator.to_document(),
        null_rates=dict.fromkeys(names, 0.5), probes=probes, probe_answers=fitted.probabilities(probes),
    )  # fmt: skip


Times = list[tuple[float, float]]


def timed(work: Callable[[int], Any], count: int) -> Times:
    """Milliseconds of each call, and those of this thread's processor time."""
    found = []
    for number in range(count):
        began, used = time.perf_counter(), time.thread_time()
        work(number)
        found.append((1000 * (time.perf_counter() - began), 1000 * (time.thread_time() - used)))
    return found


def told(name: str, times: Times, goal: str) -> list[object]:
    taken, used = np.array(times).T
    p50, p99 = np.percentile(taken, [50, 99])
    return [name, len(times), f"{p50:.3f}", f"{p99:.3f}", f"{taken.max():.3f}", f"{used.mean():.3f}", goal]


def in_memory(model: Model, count: int) -> list[list[object]]:
    predictor, booster = Predictor(model), lgb.Booster(model_str=model.text)
    rows = built.rows(DCA, 1_000, seed=5).to_dicts()
    frame = built.rows(DCA, 270, seed=6)
    together = [each for each in predictor.predict_all(frame) if isinstance(each, Prediction)]
    alone = [predictor.predict(each) for each in frame.to_dicts()]
    raws = np.asarray(booster.predict(input_matrix(frame, model.inputs), raw_score=True)).tolist()
    assert [each.raw for each in together] == [each.raw for each in alone] == raws, "they differ"
    matrix = input_matrix(pl.DataFrame(rows[:200], schema=frame.schema), model.inputs)
    return [
        told("one, in memory", timed(lambda n: predictor.predict(rows[n % 1_000]), count), "p99 < 1"),
        told("one, explained", timed(lambda n: predictor.predict(rows[n % 1_000], explain=True), count), ""),
        told("270 in one frame", timed(lambda _: predictor.predict_all(frame), 300), "≤ 10"),
        told("one, LightGBM's Python", timed(lambda n: booster.predict(matrix[n % 200, None], num_threads=1), 500), ""),
        told("load and prove", timed(lambda _: Predictor(model), 20), ""),
    ]


def store_features(store: Store, symbols: list[str], bars: int) -> list[tuple[str, datetime]]:
    """Rows of features of the newest ``bars`` bars; returns instrument and open time of each."""
    keys = [(symbol, END - BAR * (1 + number)) for number in range(bars) for symbol in symbols]
    opened = pl.Series([moment for _, moment in keys]).dt.cast_time_unit("ms")
    rows = built.rows(DCA, len(keys), seed=7).with_columns(
        instrument=pl.Series([symbol for symbol, _ in keys]), open_time=opened, available_at=opened + BAR,
        eligible=pl.lit(True),
    )  # fmt: skip
    rows = rows.select(pl.col(name).cast(dtype) for name, dtype in ROW_SCHEMA.items())
    store.features.append(rows, schema_hash(), END)
    return keys


def stored(store: Store, model: Model, count: int) -> list[list[object]]:
    symbols = [row.instrument.symbol for row in store.instruments.list()]
    keys = store_features(store, symbols, min(count, 4_500) // len(symbols) + 1)
    settings = Settings(label_parameters={"default": {"dca": OFTEN}})
    parameters = parameter_sets(settings.label_parameters)["default"][DCA]
    champions = Champions(fresh_for=1.0)
    task = PredictionTask(DCA, parameters, "boost", built.UNTIL)
    measures = [name for name in model.inputs if name.startswith("setup_")]

    def one(number: int) -> None:
        symbol, moment = keys[number]
        values = dict.fromkeys(measures, 0.1 * (number % 7))
        setup = {"instrument": symbol, "signal_ts": moment, "tier": "large", **values}
        made = predict_setups(store, champions, task, [setup])
        assert [row.refused for row in made] == [None]

    def after_bar(_: int) -> None:
        span = END - BAR, END
        made = predict_span(store, settings, champions, *span, now=built.UNTIL, live_from=span[0])
        counts.append(len(made))

    one(len(keys) - 1)
    found = [told("one, read and stored", timed(one, len(keys) - 1), "p99 < 5")]
    store.connections.run(lambda connection: connection.execute("TRUNCATE research.predictions") and None)
    counts: list[int] = []
    after_bar(0)  # as in a program that runs: what is loaded once is loaded
    first: Times = []
    for _ in range(10):
        store.connections.run(lambda connection: connection.execute("TRUNCATE research.predictions") and None)
        first += timed(after_bar, 1)
    again = timed(after_bar, 10)
    found.append(told(f"after a bar of {len(symbols)} instruments, {counts[0]} setups", first, "< 2,000"))
    found.append(told("the same again, nothing to do", again, ""))
    return found


def market(store: Store, count: int) -> None:
    tiers = list(Tier)[:3]
    symbols = ["BTC-USDT", *(f"C{number:02d}-USDT" for number in range(1, count))]
    store.instruments.add([Instrument.crypto(name, tiers[number % 3]) for number, name in enumerate(symbols)])
    for number, name in enumerate(symbols):
        rolled = roll_up_all(minutes(name, _DAYS, number), (Timeframe.M15, Timeframe.H1))
        for timeframe in (Timeframe.M15, Timeframe.H1):
            store.bars.write(rolled[timeframe], timeframe)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--predictions", type=int, default=5_000)
    parser.add_argument("--instruments", type=int, default=90)
    options = parser.parse_args()
    model = large_model()
    rows = in_memory(model, options.predictions)
    with postgres() as server, database(server, "bench") as url, Store(url) as store:
        market(store, options.instruments)
        store.clock.learn("replay", START)
        Registry(store).force(DCA, add(store, model), reason="bench", person="bench")
        rows += stored(store, model, options.predictions)
    print(machine())
    print(f"{len(model.inputs)} inputs, {len(NAMES)} features, model text of {len(model.text) / 1000:.0f} kB\n")
    table(["milliseconds", "times", "p50", "p99", "most", "processor", "goal"], rows)


if __name__ == "__main__":
    main()
