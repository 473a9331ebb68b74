"""Answers for programs that ask: stored predictions, and the model in use for a row of features. Nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from crypto_pipeline.features.compute import schema_hash
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.decision import decide, modes
from crypto_pipeline.models.refusal import PredictionRefused, RefusalReason
from crypto_pipeline.models.stored.champions import Champions
from crypto_pipeline.models.stored.shown import shown_contributions, shown_prediction
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store


class PredictionAnswers:
    """Answers from one store. Thread-safe. ``fresh_for``: seconds for which it does not look for another champion."""

    def __init__(self, store: Store, settings: Settings, fresh_for: float) -> None:
        self._store, self._modes = store, modes(settings.ml_mode)
        self._champions = Champions(fresh_for)

    def predict(
        self, strategy: Strategy, row: Mapping[str, Any], *, feature_schema_hash: str | None, explain: bool
    ) -> dict[str, Any]:
        """What the model in use says of a row of features, and what follows from it.

        ``feature_schema_hash``: of the features in the row; None: as this version computes them. Raises
        PredictionRefused.
        """
        predictor = self._champions.predictor(self._store, strategy)
        if predictor is None:
            raise PredictionRefused(RefusalReason.NO_MODEL, f"{strategy} has no model in use: the rules alone decide")
        model = predictor.model
        predictor.require_usable(self._store.clock.lately(), feature_schema_hash or schema_hash())
        found = predictor.predict(row, explain=explain)
        mode = self._modes[strategy]
        decided = decide(mode, found.probability, found.p_star)
        parts = None if found.contributions is None else found.contributions.tolist()
        return {
            "strategy": str(strategy), "model_id": model.id, "trained_until": model.trained_until,
            "probability": found.probability, "p_star": found.p_star, "raw": found.raw, "ml_mode": mode,
            "decision": decided.decision, "size_factor": decided.size_factor,
            **shown_contributions(parts, model.inputs),
        }  # fmt: skip


def stored_predictions(
    store: Store,
    instrument: str,
    strategy: str | None,
    start: datetime | None,
    end: datetime | None,
    *,
    limit: int,
    offset: int,
) -> dict[str, Any]:
    """Predictions of an instrument, the newest first. Raises StoreError for an unknown one."""
    found = store.models.predictions.read([instrument], strategy, start, end, limit=limit, offset=offset)
    return {"instrument": instrument, "predictions": [shown_prediction(*each) for each in found]}
