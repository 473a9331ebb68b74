"""Run by an interpreter with freqtrade[freqai]: one model per pair by FreqAI's own class, trained and asked.

The JSON document has ``rows`` (a Parquet file with pair, date, y, holdout and inputs), ``inputs``, ``trees`` and
``threads``. The answer: processor seconds to train and to predict, and the probabilities of the hold-out, by pair.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.freqai.prediction_models.LightGBMClassifier import LightGBMClassifier

_LABEL = "&s-y"
_FEATURES = {
    "include_timeframes": ["15m"], "include_corr_pairlist": [], "label_period_candles": 1,
    "include_shifted_candles": 0, "indicator_periods_candles": [10], "weight_factor": 0, "DI_threshold": 0,
    "principal_component_analysis": False, "use_SVM_to_remove_outliers": False, "shuffle_after_split": False,
    "use_DBSCAN_to_remove_outliers": False, "buffer_train_data_candles": 0, "plot_feature_importances": 0,
    "indicator_max_period_candles": 10,
}  # fmt: skip


def configuration(folder: Path, pairs: list[str], trees: int, threads: int) -> dict[str, Any]:
    (folder / "config.json").write_text("{}")
    return {
        "timeframe": "15m", "timerange": "20260801-20260828", "config_files": [str(folder / "config.json")],
        "user_data_dir": folder, "stake_currency": "USDT", "dry_run": True, "runmode": "backtest",
        "exchange": {"name": "binance", "pair_whitelist": pairs}, "pairs": pairs,
        "freqai": {
            "enabled": True, "identifier": "bench", "train_period_days": 100, "backtest_period_days": 28,
            "live_retrain_hours": 0, "activate_tensorboard": False, "feature_parameters": _FEATURES,
            "data_split_parameters": {"test_size": 0.1, "shuffle": False},
            "model_training_parameters": {"n_estimators": trees, "n_jobs": threads, "verbosity": -1},
        },
    }  # fmt: skip


def one_pair(config: dict[str, Any], pair: str, rows: pd.DataFrame, inputs: list[str]) -> dict[str, Any]:
    model, kitchen = LightGBMClassifier(config=config), FreqaiDataKitchen(config, False, pair)
    kitchen.training_features_list, kitchen.label_list = inputs, [_LABEL]
    kitchen.set_paths(pair, 0)
    known = rows[~rows["holdout"]].reset_index(drop=True)
    later = rows[rows["holdout"]].reset_index(drop=True)
    begun = time.process_time()
    model.model = model.train(known, pair, kitchen)
    trained = time.process_time()
    answers, _ = model.predict(later, kitchen)
    return {
        "train": trained - begun, "predict": time.process_time() - trained,
        "probability": answers["up"].tolist(), "y": (later[_LABEL] == "up").astype(int).tolist(),
    }  # fmt: skip


def main() -> None:
    warnings.simplefilter("ignore")
    question = json.load(sys.stdin)
    frame = pd.read_parquet(question["rows"])
    frame[_LABEL] = frame["y"].map({1: "up", 0: "down"})
    renamed = {name: f"%-{name}" for name in question["inputs"]}
    frame = frame.rename(columns=renamed)
    pairs = sorted(frame["pair"].unique())
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(Path(folder), pairs, question["trees"], question["threads"])
        found = {
            pair: one_pair(config, pair, frame[frame["pair"] == pair].reset_index(drop=True), [*renamed.values()])
            for pair in pairs
        }
    sys.stdout = sys.__stdout__
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
