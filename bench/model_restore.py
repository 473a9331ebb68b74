"""A model after a restore: the same document, the same predictions, and the same model from its manifest once more.

    python bench/model_restore.py

A labelled market is stored, a model is trained in a process of its own and put in use; the database is backed up and
restored into another one. There the model is loaded and trained again by the command, in another process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
from common import database, machine, postgres

from crypto_pipeline.models.predictor import Prediction, Predictor
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.models.stored.training_run import TrainingOrder, events, train_stored, training_span
from crypto_pipeline.ops.backups import backup
from crypto_pipeline.ops.backups.restore import restore
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import EmbeddedServer, Store
from crypto_pipeline_tests.builders.trained_market import NOW, SETTINGS, STRATEGY, TRAINING, store_labelled_market


def silent(_text: str) -> None:
    pass


def rows_of(store: Store) -> pl.DataFrame:
    """Every event that could be learned from, with its inputs."""
    order = TrainingOrder(store.url, STRATEGY, SETTINGS, NOW, TRAINING)
    return events(store, order, training_span(order)).frame


def answers(store: Store, model_id: str, rows: pl.DataFrame) -> list[float]:
    found = Predictor(Registry(store).load(model_id)).predict_all(rows)
    return [each.probability for each in found if isinstance(each, Prediction)]


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="cp-model-"))
    target = load_settings(data_dir=folder / "copy")
    with postgres() as server, database(server, "bench") as url, Store(url) as store:
        store_labelled_market(store)
        model_id = train_stored(store, STRATEGY, SETTINGS, now=NOW, training=TRAINING).model_id
        assert model_id is not None
        Registry(store).force(STRATEGY, model_id, reason="bench", person="bench")
        rows = rows_of(store)
        ours, document = answers(store, model_id, rows), store.models.document(model_id)
        made = backup.make(load_settings(data_dir=folder, database_url=url), url, store.size_bytes(), silent)
    restore(target, made, silent)
    with EmbeddedServer(target.data_dir).running() as url, Store(url) as copy:
        theirs, again = answers(copy, model_id, rows_of(copy)), copy.models.document(model_id)
    command = [sys.executable, "-m", "crypto_pipeline.cli", "models", "train", "--again", model_id]
    done = subprocess.run([*command, "--data-dir", str(target.data_dir)], capture_output=True, text=True, check=False)
    print(machine())
    print(f"predictions: {len(ours)}, equal to the bit after the restore: {ours == theirs}")
    print(f"document of {len(document[0]) / 1000:.0f} kB: equal to the byte: {document == again}")
    print(f"trained again there: exit code {done.returncode}, {done.stdout.strip()} {done.stderr.strip()[-300:]}")


if __name__ == "__main__":
    main()
