"""Predictions of setups, decided once and stored with everything that they were decided from.

One function decides, right after the features of a bar and for a span of the past alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from crypto_pipeline.features.compute import NAMES, schema_hash
from crypto_pipeline.labels.parameters import DEFAULT, parameter_sets
from crypto_pipeline.labels.stored.setups import stored_setups
from crypto_pipeline.labels.stored.update import traded
from crypto_pipeline.labels.strategies.base import TIMEFRAME, Parameters
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.decision import RULES_ALONE, decide, modes
from crypto_pipeline.models.inputs import STATE_INPUTS
from crypto_pipeline.models.predictor import Predictor
from crypto_pipeline.models.refusal import PredictionRefused, RefusalReason
from crypto_pipeline.models.stored.champions import Champions
from crypto_pipeline.settings import MlMode, Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.research.models.rows import PredictionRow

#: What is read of a row of features.
_COLUMNS = ("eligible", *STATE_INPUTS, *NAMES)


@dataclass(frozen=True, slots=True)
class PredictionTask:
    """What predictions of one strategy have in common.

    ``parameters``: of the set that is traded. ``mode``: what predictions are used for. ``now``: by the market's clock.
    ``live_from``: signal bars that opened then or later have just closed; None: none has.
    """

    strategy: Strategy
    parameters: Parameters
    mode: MlMode
    now: datetime
    live_from: datetime | None = None


def predict_span(
    store: Store,
    settings: Settings,
    champions: Champions,
    start: datetime,
    end: datetime,
    *,
    now: datetime,
    live_from: datetime | None = None,
    instruments: Sequence[str] = (),
) -> list[PredictionRow]:
    """Predict and store every setup of the default set whose signal bar opened in ``[start, end)`` and that has none.

    Only of strategies with a champion, and of signals that closed after it became the champion. Bars without a row of
    features are left out until they have one. ``live_from``: signal bars from then on have just closed. Returns what
    was stored. Raises StoreError.
    """
    stored = []
    wanted = modes(settings.ml_mode)
    sets = parameter_sets(settings.label_parameters)[DEFAULT]
    for name in sorted(champions.ids(store)):
        strategy = Strategy(name)
        since = store.models.aliases(name)["champion"].since_market
        first = max(start, TIMEFRAME.floor(since))
        if first >= end:
            continue
        task = PredictionTask(strategy, sets[strategy], wanted[strategy], now, live_from)
        tiers = traded(store, instruments)
        setups = stored_setups(
            store, strategy, task.parameters, first, end, tiers, benchmark=settings.feature_benchmark
        )
        stored += predict_setups(store, champions, task, setups.to_dicts())
    return stored


def predict_setups(
    store: Store, champions: Champions, task: PredictionTask, setups: Sequence[Mapping[str, Any]]
) -> list[PredictionRow]:
    """Predict and store ``setups`` (rows of ``stored_setups``) that have no prediction yet and whose bar has features.

    Returns what was stored.
    """
    found = sorted(setups, key=lambda each: (each["signal_ts"], each["instrument"]))
    rows = []
    for signal_ts, together in groupby(_without_prediction(store, task, found), key=lambda each: each["signal_ts"]):
        setups_of_bar = list(together)
        features = store.features.rows_at([each["instrument"] for each in setups_of_bar], signal_ts, _COLUMNS)
        for each in setups_of_bar:
            if (values := features.get(each["instrument"])) is not None:
                rows.append(prediction_row(store, champions, task, each, dict(zip(_COLUMNS, values, strict=True))))
    return store.models.predictions.put(rows)


def _without_prediction(
    store: Store, task: PredictionTask, found: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """Those that have none. Of a single one nobody asks: it is predicted, and the table keeps the first."""
    if len(found) < 2:
        return found
    first, end = found[0]["signal_ts"], found[-1]["signal_ts"] + TIMEFRAME.delta
    made = store.models.predictions.made(str(task.strategy), first, end)
    return [each for each in found if (each["instrument"], each["signal_ts"]) not in made]


def prediction_row(
    store: Store, champions: Champions, task: PredictionTask, setup: Mapping[str, Any], features: Mapping[str, Any]
) -> PredictionRow:
    """Decide one setup: what the champion predicts or why it refuses, and what follows from it. Stores nothing."""
    model_id = champions.ids(store)[str(task.strategy)]
    inputs: tuple[float | None, ...] = ()
    given = {**features, **setup}
    shared: dict[str, Any] = {
        "strategy": str(task.strategy), "instrument": setup["instrument"], "signal_ts": setup["signal_ts"],
        "params_hash": task.parameters.hash, "feature_schema_hash": schema_hash(),
        "live": task.live_from is not None and setup["signal_ts"] >= task.live_from,
        "ml_mode": task.mode,
    }  # fmt: skip
    try:
        predictor = champions.predictor(store, task.strategy)
        assert predictor is not None
        model_id, inputs = predictor.model.id, predictor.inputs_of(given)
        found = usable(predictor, task.now).predict(_eligible(given), explain=True)
    except PredictionRefused as refused:
        return PredictionRow(
            **shared, model_id=model_id, inputs=inputs, decision=RULES_ALONE.decision,
            size_factor=RULES_ALONE.size_factor, refused=str(refused.reason), refusal=str(refused),
        )  # fmt: skip
    decided = decide(task.mode, found.probability, found.p_star)
    assert found.contributions is not None
    return PredictionRow(
        **shared, model_id=model_id, inputs=inputs, decision=decided.decision, size_factor=decided.size_factor,
        probability=found.probability, raw=found.raw, p_star=found.p_star,
        contributions=tuple(found.contributions.tolist()),
    )  # fmt: skip


def usable(predictor: Predictor, now: datetime) -> Predictor:
    """The predictor, if it may be used now for features as this version computes them. Raises PredictionRefused."""
    predictor.require_usable(now, schema_hash())
    return predictor


def _eligible(row: Mapping[str, Any]) -> Mapping[str, Any]:
    if not row["eligible"]:
        said = "too many of the last day's bars are missing, or too few of them traded"
        raise PredictionRefused(RefusalReason.INELIGIBLE, said, ("eligible",))
    return row
