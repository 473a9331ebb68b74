"""The registry: models as the store keeps them, and which of them is in use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.model import Model
from crypto_pipeline.models.refusal import PredictionRefused, RefusalReason
from crypto_pipeline.models.safeguards.finding import blocking
from crypto_pipeline.models.training import Trained
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.research.models.rows import Alias, ModelDecision, ModelRun, NewModel, StoredModel


def canonical(model: Model) -> str:
    """The one text of a model, whose SHA-256 is ``model.sha256``."""
    return json.dumps(model.to_document(), sort_keys=True, separators=(",", ":"), allow_nan=False)


def new_model(trained: Trained, holdout: tuple[datetime, datetime]) -> NewModel:
    """A trained model as a row; ``holdout``: the signals (start, end) on which it may be judged."""
    model, document = trained.model, canonical(trained.model)
    plain = model.to_document()
    return NewModel(
        strategy=str(model.strategy),
        blocked_because=tuple(finding.message for finding in blocking(trained.findings)),
        trained_from=model.trained_from,
        trained_until=model.trained_until,
        holdout_from=holdout[0],
        holdout_until=holdout[1],
        feature_schema_hash=model.feature_schema_hash,
        params_hash=model.params_hash,
        loose_hash=model.loose_hash,
        input_names=model.inputs,
        metrics=plain["metrics"],
        manifest=plain["manifest"],
        sha256=hashlib.sha256(document.encode()).hexdigest(),
        document=document,
    )


class Registry:
    """Models of a store. Every change is one transaction (see ``store.research.models.registry``)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, trained: Trained, holdout: tuple[datetime, datetime], run: ModelRun) -> str:
        """Store a model that was trained, with the run that made it; return its id.

        It becomes the challenger unless a safeguard blocks it.
        """
        return self._store.models.add(new_model(trained, holdout), run)

    def load(self, model_id: str) -> Model:
        """A model, proven to be the one that was stored. Raises StoreError if there is none, PredictionRefused where
        its document was changed, or is of a version that this one does not read.
        """
        text, sha256 = self._store.models.document(model_id)
        found = hashlib.sha256(text.encode()).hexdigest()
        if found != sha256 or not found.startswith(model_id):
            raise PredictionRefused(
                RefusalReason.DAMAGED, f"the document of model {model_id} has another hash than it had"
            )
        try:
            return Model.from_document(json.loads(text))
        except (ValueError, TypeError) as error:
            raise PredictionRefused(RefusalReason.DAMAGED, f"model {model_id} cannot be read: {error}") from None

    def named(self, strategy: Strategy, alias: Alias) -> StoredModel | None:
        """The model of a strategy with an alias; None where it has none."""
        row = self._store.models.aliases(str(strategy)).get(alias)
        return None if row is None else self._store.models.find(row.model_id)

    def champion(self, strategy: Strategy) -> Model | None:
        """The model in use; None where there is none. Raises PredictionRefused as ``load``."""
        found = self.named(strategy, "champion")
        return None if found is None else self.load(found.model_id)

    def force(self, strategy: Strategy, model_id: str, *, reason: str, person: str) -> ModelDecision:
        """Make a model the champion because a person wants it; the reason is stored.

        Raises StoreError without a reason, or for a model that the strategy does not have.
        """
        model = self._store.models.find(model_id, str(strategy))
        if model.strategy != strategy:
            raise StoreError(f"model {model.model_id} is of {model.strategy}, not of {strategy}")
        figures = {"blocked_because": list(model.blocked_because)}
        return self._decide(strategy, "forced", model.model_id, reason, person, figures)

    def rollback(self, strategy: Strategy, *, reason: str, person: str) -> ModelDecision:
        """Put the champion before this one back; a second rollback undoes the first.

        Raises StoreError without a reason, or where there is none before.
        """
        before = self._store.models.aliases(str(strategy)).get("previous")
        if before is None:
            raise StoreError(f"{strategy} has had one champion at most: there is none to go back to")
        return self._decide(strategy, "rollback", before.model_id, reason, person, {})

    def _decide(
        self,
        strategy: Strategy,
        kind: Literal["forced", "rollback"],
        model_id: str,
        reason: str,
        person: str,
        figures: Mapping[str, object],
    ) -> ModelDecision:
        if not reason.strip() or not person.strip():
            raise StoreError("say why, and who you are: the reason is stored with the decision")
        incumbent = self._store.models.champions().get(str(strategy))
        if incumbent == model_id:
            raise StoreError(f"model {model_id} is the champion of {strategy} already")
        decision = ModelDecision(
            strategy=str(strategy), kind=kind, promoted=True,
            market_time=self._store.clock.now(), model_id=model_id, incumbent_id=incumbent, figures=figures,
            reason=reason.strip(), decided_by=person.strip(),
        )  # fmt: skip
        self._store.models.decide(decision)
        return decision
