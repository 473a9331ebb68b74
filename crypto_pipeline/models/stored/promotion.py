"""Promotion: once in 28 days, on a hold-out that neither model has seen and no earlier test has used.

Every test is stored with all its figures, whichever way it went. Where nothing can be decided yet, nothing is stored,
and the hold-out stays unused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl

from crypto_pipeline.features.compute import schema_hash
from crypto_pipeline.features.stored.update import Universe
from crypto_pipeline.healing.plan import retention_policy
from crypto_pipeline.labels.parameters import DEFAULT, parameter_sets
from crypto_pipeline.labels.stored.training import training_set
from crypto_pipeline.labels.strategies.base import TIMEFRAME
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.predictor import Predictor
from crypto_pipeline.models.promotion import LEAST_EVENTS, PromotionDecision, decide
from crypto_pipeline.models.refusal import PredictionRefused
from crypto_pipeline.models.safeguards.finding import ModelFinding
from crypto_pipeline.models.scoring import scored
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.research.models.rows import ModelDecision, StoredModel

#: Between two tests of a strategy; schedules may be some hours early.
EVERY, TOLERANCE = timedelta(days=28), timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class PromotionOutcome:
    """What became of a look. ``not_due``: nothing was decided, ``because`` says why; ``next_at``: when to look again,
    None: not known. Otherwise ``decision`` is what was stored.
    """

    strategy: Strategy
    status: Literal["promoted", "kept", "not_due"]
    because: str
    decision: ModelDecision | None = None
    next_at: datetime | None = None


def decide_promotion(
    store: Store, strategy: Strategy, settings: Settings, *, now: datetime | None = None
) -> PromotionOutcome:
    """Test the challenger of ``strategy`` on its hold-out, if that is due, store the decision and follow it.

    ``now``: default the market's time. Raises StoreError, and PredictionRefused where the challenger cannot be loaded.
    """
    moment = store.clock.now() if now is None else now
    registry = Registry(store)
    challenger = registry.named(strategy, "challenger")
    if challenger is None:
        return PromotionOutcome(strategy, "not_due", "it has no challenger: the next training may make one")
    champion = registry.named(strategy, "champion")
    if (waits := _not_due(store, challenger, champion, moment)) is not None:
        return waits
    rows = _holdout(store, challenger, settings)
    defaults = rows.height
    if defaults < LEAST_EVENTS:
        said = f"the hold-out has {defaults} events of the default set, fewer than {LEAST_EVENTS}"
        return PromotionOutcome(strategy, "not_due", said)
    judged = _judge(store, registry, challenger, champion, rows, moment)
    decision = ModelDecision(
        strategy=str(strategy), kind="test", promoted=judged.promote, market_time=moment,
        model_id=challenger.model_id, incumbent_id=None if champion is None else champion.model_id,
        holdout_from=challenger.holdout_from, holdout_until=challenger.holdout_until,
        figures=judged.figures, reasons=judged.reasons,
    )  # fmt: skip
    store.models.decide(decision)
    because = "; ".join(judged.reasons) or "it is better on a hold-out that nobody had seen"
    return PromotionOutcome(strategy, "promoted" if judged.promote else "kept", because, decision, moment + EVERY)


def _not_due(
    store: Store, challenger: StoredModel, champion: StoredModel | None, now: datetime
) -> PromotionOutcome | None:
    """Why nothing is decided yet; None where it is time."""
    strategy = Strategy(challenger.strategy)
    tests = [each for each in store.models.decisions(challenger.strategy) if each.kind == "test"]
    if tests and now < (next_at := tests[0].market_time + EVERY) - TOLERANCE:
        said = f"the last test was on {tests[0].market_time:%Y-%m-%d}: one in {EVERY.days} days"
        return PromotionOutcome(strategy, "not_due", said, next_at=next_at)
    used = max((each.holdout_until for each in tests if each.holdout_until is not None), default=None)
    if used is not None and challenger.holdout_from < used:
        said = f"a part of its hold-out was used before ({used:%Y-%m-%d}): the next challenger has a new one"
        return PromotionOutcome(strategy, "not_due", said)
    if champion is not None and champion.trained_until > challenger.holdout_from:
        said = f"the champion learned from data until {champion.trained_until:%Y-%m-%d}, a part of the hold-out"
        return PromotionOutcome(strategy, "not_due", f"{said}: the next challenger has a later one")
    if challenger.feature_schema_hash != schema_hash():
        return PromotionOutcome(strategy, "not_due", "the challenger learned from features as they were before")
    return None


def _holdout(store: Store, challenger: StoredModel, settings: Settings) -> pl.DataFrame:
    """The events of the default set in the challenger's hold-out, with their inputs, all marked as such."""
    parameters = parameter_sets(settings.label_parameters)[DEFAULT][Strategy(challenger.strategy)]
    # a signal counts from the close of its bar on
    start, end = (moment - TIMEFRAME.delta for moment in (challenger.holdout_from, challenger.holdout_until))
    return training_set(
        store, challenger.strategy, start, end, parameters=parameters,
        universe=Universe.from_store(store, settings.feature_benchmark), retention=retention_policy(settings),
    ).frame  # fmt: skip


def _judge(
    store: Store,
    registry: Registry,
    challenger: StoredModel,
    champion: StoredModel | None,
    rows: pl.DataFrame,
    now: datetime,
) -> PromotionDecision:
    """Score both models on the rows that both answer, and decide."""
    ours = Predictor(registry.load(challenger.model_id))
    theirs, absent = _usable_champion(registry, champion, now)
    answers = [each.predict_all(rows) for each in (ours, theirs) if each is not None]
    both = [not any(isinstance(each[place], PredictionRefused) for each in answers) for place in range(rows.height)]
    kept = rows.filter(pl.Series(both, dtype=pl.Boolean))
    seen = [model.trained_until for model in (challenger, champion) if model is not None]
    decided = decide(
        _scored(ours, kept),
        None if theirs is None else _scored(theirs, kept),
        checks=_checks(store, Strategy(challenger.strategy)),
        findings=[ModelFinding(**each) for each in challenger.metrics.get("findings", ())],
        seen_until=max(seen) if theirs is not None else challenger.trained_until,
        seed=int(challenger.model_id[:8], 16),
    )
    further = {"holdout_events": rows.height, "refused_events": rows.height - kept.height, "champion_unusable": absent}
    return PromotionDecision(decided.promote, {**decided.figures, **further}, decided.reasons)


def _usable_champion(
    registry: Registry, champion: StoredModel | None, now: datetime
) -> tuple[Predictor | None, str | None]:
    """The champion, or why it is none to compare with: one that refuses today is as good as absent."""
    if champion is None:
        return None, None
    try:
        predictor = Predictor(registry.load(champion.model_id))
        predictor.require_usable(now, schema_hash())
    except PredictionRefused as refused:
        return None, str(refused)
    return predictor, None


def _scored(predictor: Predictor, rows: pl.DataFrame) -> pl.DataFrame:
    model = predictor.model
    answers = [each.probability for each in predictor.predict_all(rows) if not isinstance(each, PredictionRefused)]
    margin = float(model.manifest["settings"]["margin"])
    return scored(rows, np.array(answers), float(model.metrics["base_rate"]), dict(model.break_even), margin)


def _checks(store: Store, strategy: Strategy) -> dict[str, bool]:
    """Whether the stored checks of features have passed, and those of the newest model have not failed, by the names
    that ``decide`` asks for.
    """
    stored = {state.source: state.status for state in store.checks.states()}
    return {
        name: stored.get(f"{check}:ml_features") == "ok" and stored.get(f"model_{check}:{strategy}") != "bad"
        for name, check in (("leak", "no_leak"), ("parity", "parity"))
    }
