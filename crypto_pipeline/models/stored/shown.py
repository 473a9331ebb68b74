"""Models and predictions as people and programs are shown them: JSON values with the names of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from crypto_pipeline.models.safeguards.age import age_of
from crypto_pipeline.store.research.models.rows import AliasRow, ModelDecision, PredictionRow, StoredModel

#: Metrics of a list of models. All are out of fold: of rows that the model that judged them had not seen.
_METRICS = ("auc", "brier_skill", "ece", "expectancy", "expectancy_low", "expectancy_high", "trades")


def shown_prediction(row: PredictionRow, names: Sequence[str]) -> dict[str, Any]:
    """One prediction. ``contributions``: what each input adds to ``raw``, the strongest first; ``base_value`` the rest.

    ``inputs`` by name; a value that was no number is null, as a null is; ``refused`` tells them apart.
    """
    found = {
        name: getattr(row, name)
        for name in (
            "strategy", "instrument", "signal_ts", "made_at", "live", "model_id", "feature_schema_hash", "params_hash",
            "probability", "p_star", "raw", "ml_mode", "decision", "size_factor", "refused", "refusal",
        )
    }  # fmt: skip
    return {
        **found,
        **shown_contributions(row.contributions, names),
        "inputs": dict(zip(names, map(_finite, row.inputs), strict=False)),
    }


def shown_contributions(values: Sequence[float] | None, names: Sequence[str]) -> dict[str, Any]:
    """``contributions`` by name, the strongest first, and ``base_value``; both None where there are none."""
    if values is None:
        return {"contributions": None, "base_value": None}
    parts = sorted(zip(names, values[:-1], strict=True), key=lambda part: -abs(part[1]))
    return {"contributions": dict(parts), "base_value": values[-1]}


def shown_model(row: StoredModel, aliases: Sequence[AliasRow], now: datetime) -> dict[str, Any]:
    """One model with its age at ``now`` (the market's time) and what it showed out of fold."""
    judged = row.metrics.get("out_of_fold") or {}
    return {
        "strategy": row.strategy,
        "model_id": row.model_id,
        "alias": ", ".join(sorted(each.alias for each in aliases if each.model_id == row.model_id)) or None,
        "status": row.status,
        "created_at": row.created_at,
        "trained_from": row.trained_from,
        "trained_until": row.trained_until,
        "age_days": round((now - row.trained_until) / timedelta(days=1), 1),
        "age": str(age_of(row.trained_until, now)),
        "out_of_fold": {name: judged.get(name) for name in _METRICS},
        "blocked_because": list(row.blocked_because),
    }


def shown_decision(decision: ModelDecision) -> dict[str, Any]:
    """One decision, with all its figures."""
    return {name: getattr(decision, name) for name in decision.__dataclass_fields__}


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) < float("inf") else None
