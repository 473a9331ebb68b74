"""What people see of a training: its state, the model's figures, all from rows that it had not seen, and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.models.model import Model
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.models.stored.training_run import TrainingOutcome
from crypto_pipeline.ops.charts import models as charts
from crypto_pipeline.store import Store

#: Metrics that are shown of a group of rows.
_SHOWN = (
    "rows", "base_rate", "log_loss", "log_loss_base", "brier_skill", "auc", "ece", "trades", "win_rate", "expectancy",
    "expectancy_low", "expectancy_high", "expectancy_rule",
)  # fmt: skip


def not_installed() -> dict[str, Any]:
    """That LightGBM, which trains, is not there."""
    return {
        "state": "not_installed",
        "summary": "LightGBM is not installed, so no model is trained and strategies go by their rules alone: "
        "`pip install 'crypto-pipeline[models]'`",
    }


def shown(store: Store, outcome: TrainingOutcome) -> dict[str, Any]:
    """Metadata of a training."""
    told: dict[str, Any] = {"dagster/row_count": outcome.events, "seconds": round(outcome.seconds, 1)}
    if outcome.model_id is None:
        return {"state": "insufficient_data", "summary": _insufficient(outcome)} | told | _missing(outcome)
    model = Registry(store).load(outcome.model_id)
    state = "blocked" if outcome.blocked_because else "trained"
    return {"state": state, "summary": _summary(model, outcome)} | told | _of_model(model) | _pictures(model)


def _insufficient(outcome: TrainingOutcome) -> str:
    missing = "; ".join(f"{each['have']:g} of {each['needed']:g} {each['what']}" for each in outcome.missing)
    when = outcome.sufficient_at
    later = (
        f"At the rate so far it suffices about {when:%Y-%m-%d}" if when else "At the rate so far it does not suffice"
    )
    return f"Too little to learn from: {missing}. {later}. {outcome.strategy.value.upper()} goes by its rules alone."


def _missing(outcome: TrainingOutcome) -> dict[str, Any]:
    rows = pl.DataFrame(
        [(each["what"], float(each["have"]), float(each["needed"]), each["suffices_at"]) for each in outcome.missing],
        schema={"what": pl.String, "have": pl.Float64, "needed": pl.Float64, "suffices_at": pl.String},
        orient="row",
    )
    when = outcome.sufficient_at
    return {"missing": metadata.table(rows)} | ({"sufficient_at": when.isoformat()} if when else {})


def _summary(model: Model, outcome: TrainingOutcome) -> str:
    judged = model.metrics["out_of_fold"]
    auc = "no AUC" if judged["auc"] is None else f"AUC {judged['auc']:.3f}"
    skill = "no skill known" if judged["brier_skill"] is None else f"Brier skill {judged['brier_skill']:+.3f}"
    words = (
        f"Model {model.id}: out of fold on {judged['rows']} events of the default set {auc}, {skill}, "
        f"{judged['trades']} trades"
    )
    if judged["expectancy"] is not None:
        words += f" that earn {judged['expectancy']:+.2%} each"
    if outcome.blocked_because:
        return f"{words}. Blocked: {'; '.join(outcome.blocked_because)}."
    return f"{words}. It is the challenger until the test of promotion decides."


def _of_model(model: Model) -> dict[str, Any]:
    metrics, events = model.metrics, model.manifest["events"]
    of_folds = [
        {"test": f"{each['test_start'][:10]} … {each['test_end'][:10]}", "train": each["train"]}
        | _chosen(each["default"])
        for each in metrics["folds"]
    ]
    groups = {f"tier {name}": each for name, each in metrics["out_of_fold"]["tiers"].items()}
    groups |= metrics["out_of_fold"]["months"]
    sets = {
        "default set, out of fold": metrics["out_of_fold"],
        "loose set, out of fold": metrics["out_of_fold_loose"],
        "default set, hold-out": metrics["holdout"],
    }
    return {
        "model_id": model.id,
        "span": metadata.span_text(model.trained_from, model.trained_until),
        "default_set": model.params_hash,
        "loose_set": model.loose_hash,
        "features": model.feature_schema_hash,
        "training_set": events.get("content_sha256", ""),
        "results": metadata.table(_rows(sets)),
        "folds": metadata.table(_frame(of_folds)),
        "by_tier_and_month": metadata.table(_rows(groups)),
        "break_even": metadata.table(
            _frame([{"tier": tier} | dict(each) for tier, each in metrics["break_even"].items()])
        ),
        "findings": metadata.table(_frame(metrics["findings"])) if metrics["findings"] else "none",
        "versions": dict(model.versions),
        "seed": model.seed,
    }


def _pictures(model: Model) -> dict[str, Any]:
    title, metrics = f"{model.strategy.value.upper()} {model.id}", model.metrics
    base = metrics["folds"][-1]["loose"]["log_loss_base"]
    drawn = {
        "reliability": charts.reliability(metrics["reliability_curve"], title),
        "profit": charts.profit(metrics["profit_curve"], title),
        "learning": charts.learning(metrics["learning_curve"], base, title),
        "importances": charts.importances(model.importances["gain"], model.importances["permutation"], title),
    }
    return {name: metadata.picture(png, name) for name, png in drawn.items()}


def _chosen(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: metrics.get(name) for name in _SHOWN}


def _rows(groups: Mapping[str, Mapping[str, Any]]) -> pl.DataFrame:
    return _frame([{"of": name} | _chosen(each) for name, each in groups.items()])


def _frame(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.selectors.float().round(4))
