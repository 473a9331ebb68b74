"""SIGKILL at any moment of training and promotion: exactly one champion, no half model, every decision whole.

Guards I7 (docs/invariants.md).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from crypto_pipeline.models.predictor import Predictor
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.models.stored.training_run import TrainingOrder, train_here
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.databases import as_argument
from crypto_pipeline_tests.builders.trained_market import NOW, SETTINGS, STRATEGY, TRAINING, store_labelled_market

#: CRYPTO_PIPELINE_TEST_KILLS=100 for the long form (bench/model_kills.py).
KILLS = int(os.environ.get("CRYPTO_PIPELINE_TEST_KILLS", "2"))
#: Who is killed: the worker while it trains or decides, or the process that trains for it; and after which word of it.
KINDS = ("decide", "train", "child")
STAGES = {"decide": ("decided",), "train": ("reading-the-training-set", "events-read", "final-fit", "model", "model")}
NAME = str(STRATEGY)


@pytest.mark.faults
def test_any_kill_of_training_and_promotion(postgres_url: str) -> None:
    with Store(postgres_url) as store:
        store_labelled_market(store)
        first, _ = (_train(store, days) for days in (0, 1))
        Registry(store).force(STRATEGY, first, reason="a test", person="test")
        rng, stages = random.Random(5), Counter[str]()
        for number in range(KILLS):
            stages[kill(postgres_url, rng, KINDS[number % len(KINDS)])] += 1
            prove(store)
        # whatever the last one left, the next training goes on from there
        _train(store, 2)
        prove(store)
        print(f"{KILLS} kills, the last words before them: {dict(stages)}")


def _train(store: Store, earlier: int) -> str:
    order = TrainingOrder(store.url, STRATEGY, SETTINGS, NOW - timedelta(days=earlier), TRAINING)
    made = train_here(order, lambda _step, _share: None)
    assert made.model_id is not None, made
    return made.model_id


def prove(store: Store) -> None:
    """What holds after any kill."""
    aliases = store.models.aliases(NAME)
    champions = store.connections.rows("SELECT strategy, model_id FROM research.model_aliases WHERE alias = 'champion'")
    assert champions == [(NAME, aliases["champion"].model_id)]
    promoted = [each for each in store.models.decisions(NAME) if each.promoted]
    assert promoted[0].model_id == aliases["champion"].model_id, "the newest decision is the one that counts"
    for later, earlier in pairwise(promoted):
        assert later.incumbent_id == earlier.model_id
    for row in store.models.every(NAME):
        Predictor(Registry(store).load(row.model_id))  # whole: its hash, its trees, its probe rows
    trained = store.connections.rows("SELECT model_id FROM research.model_runs WHERE status = 'trained'")
    assert {row[0] for row in trained} == {row.model_id for row in store.models.every(NAME)}


def kill(url: str, rng: random.Random, kind: str) -> str:
    """Start the worker and kill it, or the process that trains for it, at a random moment; its last word."""
    work = "decide" if kind == "decide" else "train"
    command = [sys.executable, "-m", "crypto_pipeline_tests.faults.model_worker", as_argument(url), work]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    words: list[str] = []
    reader = threading.Thread(target=lambda: words.extend(line.strip() for line in worker.stdout or ()))
    reader.start()
    wanted = rng.choice(STAGES[work])
    while wanted not in words:
        assert worker.poll() is None
        time.sleep(0.002)  # the worker tells nobody else
    children = _children(worker.pid)
    time.sleep(rng.random() * 0.3)  # the moment is the one thing here that must not be awaited
    if kind == "child":
        for pid in children:
            _end(pid)
        with suppress(subprocess.TimeoutExpired):  # its training had ended already: it goes on to the next
            worker.wait(5)  # its training has failed, and it says so
    with suppress(FileNotFoundError):
        children += _children(worker.pid)
    worker.kill()
    worker.wait()
    reader.join()
    for pid in children:
        until = time.monotonic() + 20
        while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert not Path(f"/proc/{pid}").exists(), "the process that trains outlives who waits for it"
    return words[-1]


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
