"""Models: time and memory of training, repeatability, leaks, random walks, planted signals, and FreqAI beside it.

    python bench/models.py [--speed] [--loose] [--repeat] [--splits] [--leaks] [--walks] [--bars] [--planted]
        [--freqai PYTHON] [--histories 100]

Events are simulated on random walks (crypto_pipeline_tests/builders/model_events.py). Speed and memory are those of a
process of its own, as training runs, with every input of the strategy (measures, features, states, tier); the other
parts train many smaller models with 40 trees. ``--bars``: random walks of 15m bars through the product's own setups,
labels and features, every input, all three strategies. ``--freqai`` takes an interpreter with freqtrade[freqai]
(crypto_pipeline_tests/oracles/foreign.py says how); it trains one model per instrument on the rows that ours pools.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import load, machine, table

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.events import end_of
from crypto_pipeline.models.inputs import input_matrix, input_names
from crypto_pipeline.models.judging.metrics import auc
from crypto_pipeline.models.learning.boosting import LearningRows, fit_calibrated
from crypto_pipeline.models.learning.minima import Insufficient
from crypto_pipeline.models.promotion import PromotionDecision, decide
from crypto_pipeline.models.safeguards.finding import blocking
from crypto_pipeline.models.settings import BoostingSettings, Minima, TrainingSettings
from crypto_pipeline.models.splits import calibration_rows, fold, overlaps
from crypto_pipeline.models.training import Trained, train
from crypto_pipeline_tests.builders.leaks import LEAKS
from crypto_pipeline_tests.builders.model_events import Market, events, settings_of
from crypto_pipeline_tests.builders.walk_market import walk_events
from crypto_pipeline_tests.oracles.splits import overlapping_pairs, random_events

_STRATEGY = Strategy.SWING
_CHECKS = {"leak": True, "parity": True}
_PROGRAM = Path(__file__).parent.parent / "crypto_pipeline_tests/oracles/freqai_program.py"


def full_events(count: int, days: int = 180) -> pl.DataFrame:
    """``count`` events of 110 instruments with every input of the strategy."""
    density = 0.05
    while True:
        frame = events(Market(instruments=110, days=days, density=density, signal=0.05, noise=100, default_share=0.3))
        if frame.height >= count:
            break
        density *= 1.5
    frame = frame.sample(count, seed=1)
    rng = np.random.default_rng(3)
    more = [name for name in input_names(_STRATEGY) if name not in frame.columns]
    columns: dict[str, Any] = {name: rng.normal(size=count) for name in more}
    columns |= {name: rng.integers(-2, 2, count) for name in ("regime", "stress")}
    return frame.with_columns(**{name: pl.Series(values) for name, values in columns.items()})


def in_process(count: int, days: int, answer: Any) -> None:
    """Train once and send seconds, peak memory before and after, and the model's hashes."""
    frame = full_events(count, days)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun, cpu = time.perf_counter(), time.process_time()
    found = train(frame, _STRATEGY, TrainingSettings())
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    assert isinstance(found, Trained), found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    model = found.model
    answer.put((frame.height, len(model.inputs), took, cpu, before, peak, model.sha256, model.probe_answers.tobytes()))


def spawned(count: int, days: int) -> tuple[Any, ...]:
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=in_process, args=(count, days, answer))
    process.start()
    found: tuple[Any, ...] = answer.get()
    process.join()
    return found


def speed(count: int, days: int) -> None:
    rows, inputs, took, cpu, before, peak, *_ = spawned(count, days)
    head = ("events", "inputs", "training, s", "CPU, s", "MiB before", "MiB peak", "load")
    table(head, [(f"{rows:,}", inputs, f"{took:.1f}", f"{cpu:.1f}", f"{before:,.0f}", f"{peak:,.0f}", load())])


def repeat() -> None:
    first, second = spawned(3_000, 180), spawned(3_000, 180)
    print(f"two processes, the same model text and answers to the bit: {first[-2:] == second[-2:]} ({first[-2][:16]})")


def splits(cases: int = 10_000) -> None:
    bad = disagree = trained = 0
    begun = time.perf_counter()
    for seed in range(cases):
        rng = np.random.default_rng([8, seed])
        frame = random_events(rng)
        begin, end = frame["available_at"][0], frame["available_at"][-1]
        start = begin + (end - begin) * rng.uniform(0.1, 0.9)
        until = start + (end - begin) * rng.uniform(0.05, 0.4)
        embargo = timedelta(minutes=15 * int(rng.integers(0, 5)))
        found = fold(frame, start, until, after=bool(rng.integers(2)), embargo=embargo)
        fits, calibrates = calibration_rows(frame, found.train, rng.uniform(0.05, 0.5))
        for train_rows, test_rows in ((found.train, found.test), (fits, calibrates)):
            pairs = overlapping_pairs(frame, train_rows.tolist(), test_rows.tolist())
            bad += pairs
            disagree += pairs != overlaps(frame, train_rows, test_rows)
        trained += len(found.train)
    took = time.perf_counter() - begun
    print(f"{cases:,} random cases, {trained:,} train rows: {bad} overlaps, {disagree} miscounts, {took:.0f} s")


def leaks(times: int = 10) -> None:
    rows = []
    for name, leak in LEAKS.items():
        blocked, by = 0, Counter[str]()
        for seed in range(times):
            market = Market(seed=seed, signal=0.08 * (seed % 2), common=0.4, noise=30)
            frame = events(market)
            found = train(frame.with_columns(leak(frame, seed).alias("body")), _STRATEGY, settings_of(market, 40))
            assert isinstance(found, Trained), found
            against = blocking(found.findings)
            blocked += not decide(found.holdout, None, checks=_CHECKS, findings=found.findings).promote and bool(
                against
            )
            by.update({finding.check for finding in against})
        rows.append((name, f"{blocked} of {times}", ", ".join(f"{check} {count}" for check, count in by.items())))
    table(("planted in the place of an input", "blocked", "by"), rows)


def histories(name: str, market: Market, count: int) -> None:
    def one(seed: int) -> Trained | Insufficient:
        seeded = replace(market, seed=seed)
        return train(events(seeded), _STRATEGY, settings_of(seeded, 40))

    tally(name, one, count)


def bars(count: int) -> None:
    """Random walks of bars. Their default sets are rare: the hold-out may have none, and then nothing is promoted."""
    boosting = BoostingSettings(rounds=40, threads=1, learning_rate=0.06)
    settings = TrainingSettings(boosting=boosting, minima=Minima(holdout_default_events=0))
    for strategy in Strategy:
        tally(f"bars of random walks, {strategy}", partial(of_bars, strategy, settings), count)


def of_bars(strategy: Strategy, settings: TrainingSettings, seed: int) -> Trained | Insufficient:
    return train(walk_events(strategy, 24, 150, seed), strategy, settings)


def tally(name: str, make: Callable[[int], Trained | Insufficient], count: int) -> None:
    aucs, promoted, findings, reasons, sizes = [], 0, 0, Counter[str](), []
    begun = time.perf_counter()
    for seed in range(count):
        found = make(seed)
        assert isinstance(found, Trained), found
        decision = decided(found, seed)
        aucs.append(found.model.metrics["out_of_fold_loose"]["auc"])
        promoted += decision.promote
        findings += bool(found.findings)
        sizes.append(decision.figures["challenger"]["rows"])
        reasons.update({_kind(reason) for reason in decision.reasons})
    row = (
        name, f"{promoted} of {count}", f"{np.mean(aucs):.4f}", f"{np.std(aucs):.4f}", f"{np.mean(sizes):,.0f}",
        findings,
        ", ".join(f"{kind} {number}" for kind, number in reasons.most_common()), f"{time.perf_counter() - begun:.0f}",
    )  # fmt: skip
    head = ("histories", "promoted", "AUC, mean", "AUC, deviation", "hold-out", "with findings", "refused by", "s")
    table(head, [row])


def decided(found: Trained, seed: int) -> PromotionDecision:
    return decide(
        found.holdout, None, checks=_CHECKS, findings=found.findings, seen_until=found.model.trained_until, seed=seed
    )


def _kind(reason: str) -> str:
    kinds = (
        "log-loss",
        "no trade",
        "not more than 0",
        "calibration error",
        "rules alone",
        "too good",
        "leaky",
        "default set",
    )
    return next((kind for kind in kinds if kind in reason), reason[:40])


def freqai(python: str, pairs: int = 90, count: int = 11_000) -> None:
    """Train and predict on the same rows: one model per pair there, one for all here."""
    everything = full_events(count).sort("available_at", "instrument")
    chosen = sorted(everything["instrument"].unique())[:pairs]
    frame = everything.filter(pl.col("instrument").is_in(chosen))
    names = input_names(_STRATEGY)
    held = fold(frame, end_of(frame) - timedelta(days=28), end_of(frame))
    settings = TrainingSettings().boosting
    theirs = ask_freqai(python, frame, held.train, held.test, names, settings.rounds)
    rows = LearningRows(
        input_matrix(frame, names), frame["y"].cast(pl.Float64).to_numpy(), frame["weight"].to_numpy()
    )  # fmt: skip
    begun = time.process_time()
    fits, calibrates = calibration_rows(frame, held.train)
    fitted = fit_calibrated(rows, fits, calibrates, names, settings)
    trained = time.process_time()
    answers = fitted.probabilities(rows.x[held.test])
    asked = time.process_time()
    whole = time.process_time()
    found = train(frame, _STRATEGY, TrainingSettings())
    whole = time.process_time() - whole
    assert isinstance(found, Trained), found
    there = [sum(each[part] for each in theirs.values()) for part in ("train", "predict")]
    said = np.concatenate([each["probability"] for each in theirs.values()])
    came = np.concatenate([each["y"] for each in theirs.values()]).astype(float)
    ours = (trained - begun, asked - trained)
    table(
        ("", "models", "train, CPU s", "predict, CPU s", "AUC on the hold-out"),
        [
            ("FreqAI LightGBMClassifier", len(theirs), f"{there[0]:.2f}", f"{there[1]:.3f}", f"{auc(came, said):.3f}"),
            ("ours, the fit and its calibration", 1, f"{ours[0]:.2f}", f"{ours[1]:.3f}",
             f"{auc(rows.y[held.test], answers):.3f}"),
            ("ratio", "", f"{there[0] / ours[0]:.1f}", f"{there[1] / ours[1]:.1f}", ""),
            ("ours, with six folds and all that judges", 1, f"{whole:.2f}", "", ""),
        ],
    )  # fmt: skip
    print(
        f"{len(held.train):,} train and {len(held.test):,} hold-out rows, {len(names)} inputs, {settings.rounds} trees"
    )


def ask_freqai(
    python: str, frame: pl.DataFrame, train_rows: Any, test_rows: Any, names: tuple[str, ...], trees: int
) -> dict[str, Any]:
    held = np.isin(np.arange(frame.height), test_rows)
    chosen = frame.with_columns(
        pl.col("tier").replace_strict({"large": 0.0, "mid": 1.0, "meme": 2.0}), holdout=pl.Series(held)
    )[np.sort(np.concatenate([train_rows, test_rows]))]
    given = chosen.select(
        pl.col("instrument").alias("pair"), pl.col("available_at").alias("date"), "y", "holdout",
        *(pl.col(name).cast(pl.Float64).fill_null(0.0) for name in names),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        given.write_parquet(path)
        question = {"rows": str(path), "inputs": names, "trees": trees, "threads": 1}
        said = subprocess.run([python, str(_PROGRAM)], input=json.dumps(question), capture_output=True, text=True)
    assert said.returncode == 0, said.stderr[-3000:]
    found: dict[str, Any] = json.loads(said.stdout[said.stdout.index('{"') :])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("speed", "loose", "repeat", "splits", "leaks", "walks", "bars", "planted"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--freqai", metavar="PYTHON")
    parser.add_argument("--histories", type=int, default=100)
    options = parser.parse_args()
    print(machine())
    if options.speed:
        speed(11_000, 180)
    if options.loose:
        speed(300_000, 250)
    if options.repeat:
        repeat()
    if options.splits:
        splits()
    if options.leaks:
        leaks()
    if options.walks:
        histories("random walks", Market(), options.histories)
    if options.bars:
        bars(options.histories)
    if options.planted:
        planted = Market(signal=0.12, common=0.05, instruments=110, default_share=0.9)
        histories("planted signal", planted, options.histories)
        histories("planted signal, common market", replace(planted, common=0.7), min(20, options.histories))
    if options.freqai:
        freqai(options.freqai)


if __name__ == "__main__":
    main()
