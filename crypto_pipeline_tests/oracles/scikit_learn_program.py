"""Run by an interpreter with scikit-learn and purgedcv: metrics, calibrators and splits of one JSON document."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pandas as pd
from purgedcv import apply_embargo, purge
from sklearn.calibration import _SigmoidCalibration, calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

_MILLISECOND = pd.Timedelta(milliseconds=1)


def metrics(y: np.ndarray, p: np.ndarray) -> dict[str, Any]:
    observed, said = calibration_curve(y, p, n_bins=10, strategy="uniform")
    return {
        "log_loss": log_loss(y, p),
        "brier": brier_score_loss(y, p),
        "auc": roc_auc_score(y, p),
        "accuracy": accuracy_score(y, p >= 0.5),
        "observed": observed.tolist(),
        "said": said.tolist(),
    }


def sigmoid(raw: np.ndarray, y: np.ndarray, weight: np.ndarray, at: np.ndarray) -> list[float]:
    return _SigmoidCalibration().fit(raw, y, weight).predict(at).tolist()


def isotonic(raw: np.ndarray, y: np.ndarray, weight: np.ndarray, at: np.ndarray) -> list[float]:
    return IsotonicRegression(out_of_bounds="clip").fit(raw, y, sample_weight=weight).predict(at).tolist()


def split(known: list[int], ends: list[int], test: list[int], after: bool, embargo: int) -> list[int]:
    """Rows that may train. Intervals there are half open, ours have both ends: a millisecond more."""
    begins = pd.Series(pd.to_datetime(known, unit="ms"))
    closes = pd.Series(pd.to_datetime(ends, unit="ms")) + _MILLISECOND
    first = min(known[row] for row in test)
    chosen = set(test)
    candidates = [row for row in range(len(known)) if row not in chosen and (after or known[row] < first)]
    kept = purge(np.array(candidates, dtype=int), np.array(test), begins, closes)
    waits = pd.Timedelta(milliseconds=embargo) - 2 * _MILLISECOND
    if after and waits > pd.Timedelta(0):
        kept = apply_embargo(kept, np.array(test), begins, closes, waits)
    return [int(row) for row in kept]


def answer(question: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, given in question.items():
        if name == "splits":
            found[name] = [split(**case) for case in given]
        else:
            function = {"metrics": metrics, "sigmoid": sigmoid, "isotonic": isotonic}[name]
            found[name] = function(**{key: np.array(values, float) for key, values in given.items()})
    return found


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
