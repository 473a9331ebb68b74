"""Training of one model: walk-forward folds that judge it, a hold-out that nobody has seen, and the final fit.

Memory is bounded by a few copies of the matrix of inputs: 300,000 events x 75 inputs are 180 MB each.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Floats, Ints
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.events import end_of, milliseconds, prepared
from crypto_pipeline.models.inputs import TIER_NUMBERS, input_matrix, input_names
from crypto_pipeline.models.judging.break_even import BreakEven, break_even
from crypto_pipeline.models.judging.metrics import judge, known, log_losses, summary
from crypto_pipeline.models.learning.boosting import Fitted, LearningRows, Progress, fit_calibrated
from crypto_pipeline.models.learning.curves import learning_curve, profit_curve, reliability_curve
from crypto_pipeline.models.learning.importances import gain_shares, null_rates, permutation_losses
from crypto_pipeline.models.learning.minima import Insufficient, Shortage, shortages
from crypto_pipeline.models.model import Model
from crypto_pipeline.models.safeguards.finding import ModelFinding
from crypto_pipeline.models.safeguards.leaky_inputs import groups_of, leaky_inputs
from crypto_pipeline.models.safeguards.overlap import overlapping
from crypto_pipeline.models.safeguards.too_good import too_good
from crypto_pipeline.models.scoring import scored
from crypto_pipeline.models.settings import TrainingSettings
from crypto_pipeline.models.splits import Fold, calibration_rows, fold, walk_forward

#: A fold is left out whose train has fewer events to fit, or fewer of one class.
LEAST_FITTED, LEAST_OF_CLASS = 200, 30
#: The base rate is that of the default set where train has so many events of it, else of all.
_LEAST_DEFAULT = 100
_TIERS = tuple(TIER_NUMBERS)


@dataclass(frozen=True, slots=True)
class Trained:
    """A model with the rows that judged it, as ``scoring.scored`` gives them, and what the safeguards found.

    ``out_of_fold``: tests of the folds, each scored by a model of what came before it. ``holdout``: scored by the model
    itself. Both have all events; those of the default set judge.
    """

    model: Model
    out_of_fold: pl.DataFrame
    holdout: pl.DataFrame
    findings: tuple[ModelFinding, ...]


@dataclass(frozen=True, slots=True)
class _Task:
    """One training: events in order of time, their matrix, and the settings."""

    strategy: Strategy
    events: pl.DataFrame
    rows: LearningRows
    names: tuple[str, ...]
    settings: TrainingSettings
    progress: Progress

    def fit(self, train: Ints) -> Fitted | None:
        """A calibrated booster of ``train``; None where there is too little to fit."""
        fits, calibrates = calibration_rows(self.events, train, self.settings.calibration_share)
        won = int(self.rows.y[fits].sum())
        if len(fits) < LEAST_FITTED or min(won, len(fits) - won) < LEAST_OF_CLASS or not len(calibrates):
            return None
        return fit_calibrated(self.rows, fits, calibrates, self.names, self.settings.boosting)

    def score(self, fitted: Fitted, rows: Ints, base_rate: float, p_star: dict[str, BreakEven]) -> pl.DataFrame:
        """Events ``rows`` scored by a booster."""
        probability = fitted.probabilities(self.rows.x[rows])
        needed = {tier: each.p_star for tier, each in p_star.items()}
        return scored(self.events[rows], probability, base_rate, needed, self.settings.margin)


def train(
    events: pl.DataFrame,
    strategy: Strategy,
    settings: TrainingSettings,
    progress: Progress = lambda _step, _share: None,
) -> Trained | Insufficient:
    """A model of ``strategy`` from ``events`` (``events.EVENT_COLUMNS`` and its inputs), or what is missing for one.

    The last 28 days are the hold-out. Before it, six tests of 14 days each judge models of what came before them; the
    model itself learns from every label that had ended when the hold-out began. The same events and settings give the
    same model to the bit. ``progress`` is told what was done and the share of all.

    Raises EventError or InputError where the events are none.
    """
    names = settings.inputs or input_names(strategy)
    table = prepared(events, names)
    end = settings.until or (end_of(table) if table.height else None)
    if end is None:
        return Insufficient((Shortage("training events", 0, settings.minima.events, None),))
    table = table.filter(pl.col("available_at") < end)
    held = fold(table, end - timedelta(days=settings.holdout_days), end)
    if missing := shortages(table, held.train, held.test, (held.test_start, end), settings.minima):
        return Insufficient(missing)
    progress("events read", 0.02)
    rows = LearningRows(
        input_matrix(table, names), table["y"].cast(pl.Float64).to_numpy(), table["weight"].cast(pl.Float64).to_numpy()
    )
    task = _Task(strategy, table, rows, names, settings, progress)
    folds = walk_forward(table, held.test_start, folds=settings.folds, days=settings.test_days)
    tested = _walk(task, folds)
    final = task.fit(held.train)
    if not tested or final is None:
        return Insufficient((Shortage("folds with enough to learn from and to judge", len(tested), 1, None),))
    progress("final fit", 0.7)
    return _finished(task, tested, held, final)


def _walk(task: _Task, folds: list[Fold]) -> list[tuple[Fold, Fitted, pl.DataFrame]]:
    """Every fold that has enough, its booster and its scored test."""
    found = []
    for number, each in enumerate(folds, 1):
        fitted = task.fit(each.train) if len(each.test) else None
        if fitted is not None:
            before = task.events[each.train]
            rows = task.score(fitted, each.test, _base_rate(before), break_even(before, _TIERS))
            found.append((each, fitted, rows))
        task.progress(f"fold {number} of {len(folds)}", 0.02 + 0.5 * number / len(folds))
    return found


def _finished(task: _Task, tested: list[tuple[Fold, Fitted, pl.DataFrame]], held: Fold, final: Fitted) -> Trained:
    """The model with its metrics, from what was fitted."""
    out_of_fold = pl.concat([rows for _, _, rows in tested])
    learned = task.events[held.train]
    p_star = break_even(out_of_fold.filter(pl.col("label_end_ts") < held.test_start), _TIERS)
    holdout = task.score(final, held.test, _base_rate(learned), p_star)
    importances = _importances(task, tested[-1], final)
    task.progress("importances", 0.8)
    metrics = _metrics(task, tested, out_of_fold, holdout)
    findings = _findings(task, tested, held, metrics, importances["gain"])
    metrics |= {
        "base_rate": _base_rate(learned),
        "break_even": {tier: known(_shown(each)) for tier, each in p_star.items()},
        "findings": [finding.to_document() for finding in findings],
    }
    task.progress("curves and safeguards", 0.98)
    model = _model(task, held, final, {tier: each.p_star for tier, each in p_star.items()}, metrics, importances)
    task.progress("model", 1.0)
    return Trained(model, out_of_fold, holdout, tuple(findings))


def _metrics(
    task: _Task, tested: list[tuple[Fold, Fitted, pl.DataFrame]], out_of_fold: pl.DataFrame, holdout: pl.DataFrame
) -> dict[str, Any]:
    """Metrics per fold, of all folds and of the hold-out, and the curves; judged on the default set."""
    seed = task.settings.boosting.seed
    last, _, rows = tested[-1]
    loss = float(log_losses(rows["y"].cast(pl.Float64).to_numpy(), rows["probability"].to_numpy()).mean())
    defaults = out_of_fold.filter("is_default")
    return {
        "folds": [
            {
                "test_start": each.test_start.isoformat(),
                "test_end": each.test_end.isoformat(),
                "train": len(each.train),
                "default": summary(scored_rows.filter("is_default"), seed),
                "loose": summary(scored_rows, seed),
            }
            for each, _, scored_rows in tested
        ],
        "folds_left_out": task.settings.folds - len(tested),
        "out_of_fold": judge(defaults, seed),
        "out_of_fold_loose": summary(out_of_fold, seed),
        "holdout": judge(holdout.filter("is_default"), seed),
        "reliability_curve": reliability_curve(defaults),
        "learning_curve": learning_curve(task.events, task.rows, last, loss, task.names, task.settings),
        "profit_curve": profit_curve(defaults),
    }


def _importances(task: _Task, last: tuple[Fold, Fitted, pl.DataFrame], final: Fitted) -> dict[str, dict[str, float]]:
    """Gain of the final booster; permutation on the test of the last fold, by the booster that has not seen it."""
    each, fitted, _ = last
    x, y = task.rows.x[each.test], task.rows.y[each.test]
    permuted = permutation_losses(fitted, x, y, task.names, task.settings.boosting.seed)
    return {"gain": gain_shares(final, task.names), "permutation": permuted}


def _findings(
    task: _Task, tested: list[tuple[Fold, Fitted, pl.DataFrame]], held: Fold, metrics: dict[str, Any],
    gain: dict[str, float],
) -> list[ModelFinding]:  # fmt: skip
    """What the safeguards say of the inputs, the splits and the results."""
    splits = {f"fold {number}": (each.train, each.test) for number, (each, _, _) in enumerate(tested, 1)}
    splits["hold-out"] = (held.train, held.test)
    splits["calibration"] = calibration_rows(task.events, held.train, task.settings.calibration_share)
    net = task.events["net_return"].to_numpy()
    results = {
        "out-of-fold": metrics["out_of_fold"], "loose out-of-fold": metrics["out_of_fold_loose"],
        "hold-out": metrics["holdout"],
    }  # fmt: skip
    return [
        *leaky_inputs(task.rows.x, task.rows.y, net, task.names, input_names(task.strategy), groups_of(task.events)),
        *overlapping(task.events, splits),
        *too_good(results, gain),
    ]


def _model(
    task: _Task, held: Fold, final: Fitted, p_star: dict[str, float], metrics: dict[str, Any],
    importances: dict[str, Any],
) -> Model:  # fmt: skip
    learned, settings = task.events[held.train], task.settings
    probes = task.rows.x[held.train[_probe_places(task.rows.x[held.train], settings.probes)]]
    ends = milliseconds(learned, "label_end_ts")
    return Model(
        strategy=task.strategy,
        text=final.booster.model_to_string(),
        calibrator=final.calibrator.to_document(),
        inputs=task.names,
        null_rates=null_rates(learned, task.names),
        feature_schema_hash=settings.feature_schema_hash,
        params_hash=settings.params_hash,
        loose_hash=settings.loose_hash,
        break_even=p_star,
        trained_from=learned["available_at"][0],
        trained_until=learned["label_end_ts"][int(ends.argmax())],
        manifest={"settings": settings.to_document(), "events": dict(settings.manifest)},
        metrics=metrics,
        importances=importances,
        versions={name: version(name) for name in ("crypto-pipeline", "lightgbm", "numpy", "polars")},
        seed=settings.boosting.seed,
        probes=probes,
        probe_answers=final.probabilities(probes),
    )


def _probe_places(x: Floats, count: int) -> Ints:
    """``count`` places, evenly over all rows, an eighth of them over those with nulls."""
    gaps = np.flatnonzero(np.isnan(x).any(axis=1))
    some = gaps[np.linspace(0, len(gaps) - 1, min(len(gaps), count // 8)).astype(np.int64)]
    others = np.setdiff1d(np.arange(len(x)), some)
    even = others[np.linspace(0, len(others) - 1, min(len(others), count - len(some))).astype(np.int64)]
    return np.sort(np.concatenate([some, even]))


def _base_rate(events: pl.DataFrame) -> float:
    """Share of class 1, of the default set where there is enough of it; by Laplace's rule, so never 0 or 1."""
    defaults = events.filter("is_default")
    rows = defaults if defaults.height >= _LEAST_DEFAULT else events
    return (float(rows["y"].sum()) + 1) / (rows.height + 2)


def _shown(each: BreakEven) -> dict[str, Any]:
    return {"p_star": each.p_star, "gain": each.gain, "loss": each.loss, "events": each.events, "of": each.of}
