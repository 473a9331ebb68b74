"""A program that trains, promotes, forces and rolls back models of one strategy until it is killed."""

from __future__ import annotations

import itertools
import sys
from datetime import timedelta

from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.models.stored.training_run import train_stored
from crypto_pipeline.store import Store
from crypto_pipeline.store.research.models.rows import ModelDecision
from crypto_pipeline_tests.builders.databases import from_argument
from crypto_pipeline_tests.builders.trained_market import NOW, SETTINGS, STRATEGY, TRAINING

DAY = timedelta(days=1)


def tell(stage: str) -> None:
    print(stage, flush=True)


def decide(store: Store, number: int) -> None:
    """One decision: a test that promotes the newest model, a person's choice, or a way back."""
    registry, name = Registry(store), str(STRATEGY)
    models = [row.model_id for row in store.models.every(name)]
    incumbent = store.models.champions().get(name)
    chosen = models[number % len(models)]
    if number % 3 == 2 and "previous" in store.models.aliases(name):
        registry.rollback(STRATEGY, reason="a test", person="worker")
    elif chosen == incumbent:
        return
    elif number % 3 == 1:
        registry.force(STRATEGY, chosen, reason="a test", person="worker")
    else:
        # every test has a hold-out of its own, after all before it
        tests = [each.holdout_until for each in store.models.decisions(name) if each.holdout_until is not None]
        start = max(tests, default=NOW)
        store.models.decide(
            ModelDecision(name, "test", True, NOW, chosen, incumbent, start, start + DAY, {"number": number})
        )


def main() -> None:
    """Work on the database of the first argument: ``train`` again and again, or ``decide``."""
    url, work = sys.argv[1:]
    with Store(from_argument(url)) as store:
        for number in itertools.count():
            if work == "decide":
                decide(store, number)
                tell("decided")
                continue
            # it ends on another day each time, so that it is another model
            earlier = NOW - timedelta(days=number % 2)
            train_stored(store, STRATEGY, SETTINGS, now=earlier, training=TRAINING,
                         progress=lambda step, _share: tell(step.replace(" ", "-")))  # fmt: skip
            tell("trained")


if __name__ == "__main__":
    main()
