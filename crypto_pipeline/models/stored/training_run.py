"""One training: from the stored labels to a stored model, or to the statement of what is missing for one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from crypto_pipeline.features.compute import BENCHMARK_LOOK_BACK, LOOK_BACK, schema_hash
from crypto_pipeline.features.stored.update import Universe
from crypto_pipeline.healing.plan import retention_policy
from crypto_pipeline.labels.parameters import DEFAULT, LOOSE, parameter_sets
from crypto_pipeline.labels.stored.training import TrainingSet, reproduce, training_set
from crypto_pipeline.labels.strategies.base import TIMEFRAME
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.retention import RetentionPolicy
from crypto_pipeline.market.timeframes import parse_time
from crypto_pipeline.market.times import midnight
from crypto_pipeline.models.booster import require_installed
from crypto_pipeline.models.learning.boosting import Progress
from crypto_pipeline.models.model import Model
from crypto_pipeline.models.settings import TrainingSettings
from crypto_pipeline.models.stored import training_process
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.models.training import Trained, train
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.operations.job_metrics import JobMetrics
from crypto_pipeline.store.research.models.rows import ModelRun, RunStatus

#: Signals that are older than this are not learned from.
LONGEST = timedelta(days=3 * 365)


@dataclass(frozen=True, slots=True)
class TrainingOrder:
    """What one training is to do, to be handed to its process, by a pipe that nobody else reads.

    ``url``: of the database. ``now``: by the market's clock, UTC. ``settings``: those of the deployment; ``training``:
    default those of the code.
    """

    url: str
    strategy: Strategy
    settings: Settings
    now: datetime
    training: TrainingSettings = field(default_factory=TrainingSettings)


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """What became of a training.

    ``status``: ``trained`` or ``insufficient_data``. ``model_id``: of the stored model; ``blocked_because``: what its
    safeguards found; it is no challenger then. ``missing``: what there is too little of, each with ``what``, ``have``
    and ``needed``; ``sufficient_at``: when it will suffice, None: not known. ``events``: rows it could learn from.
    """

    strategy: Strategy
    status: RunStatus
    model_id: str | None
    blocked_because: tuple[str, ...]
    missing: tuple[Mapping[str, Any], ...]
    sufficient_at: datetime | None
    events: int
    seconds: float

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "strategy": str(self.strategy), "status": self.status, "model_id": self.model_id,
            "blocked_because": list(self.blocked_because), "missing": [dict(each) for each in self.missing],
            "sufficient_at": None if self.sufficient_at is None else self.sufficient_at.isoformat(),
            "events": self.events, "seconds": self.seconds,
        }  # fmt: skip

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """From ``to_document``."""
        sufficient = document["sufficient_at"]
        return cls(
            Strategy(document["strategy"]), document["status"], document["model_id"],
            tuple(document["blocked_because"]), tuple(document["missing"]),
            None if sufficient is None else parse_time(sufficient), document["events"], document["seconds"],
        )  # fmt: skip


def train_stored(
    store: Store,
    strategy: Strategy,
    settings: Settings,
    *,
    now: datetime | None = None,
    training: TrainingSettings | None = None,
    progress: Progress = lambda _step, _share: None,
) -> TrainingOutcome:
    """Train a model of ``strategy`` from the stored labels in a new process, which stores it as the challenger.

    ``now``: default the market's time. Too little data is an outcome, not an error; it is stored too. ``progress`` is
    told what was done and the share of all. Raises TrainingFailedError where the process fails; that is stored as well.
    LightGbmError where LightGBM is not installed.
    """
    require_installed()
    moment = store.clock.now() if now is None else now
    order = TrainingOrder(store.url, strategy, settings, moment, training or TrainingSettings())
    began, started = time.monotonic(), datetime.now(UTC)
    try:
        outcome = TrainingOutcome.from_document(training_process.run(_train_and_tell, order, progress))
    except training_process.TrainingFailedError as error:
        seconds = time.monotonic() - began
        store.models.note_run(
            ModelRun(str(strategy), "failed", started, seconds, moment, error=str(error)[:2000] or "failed")
        )
        store.metrics.record(JobMetrics(_job(strategy), started, seconds, succeeded=False, status=str(error)[:500]))
        raise
    store.metrics.record(JobMetrics(_job(strategy), started, time.monotonic() - began, rows=outcome.events))
    return outcome


def _train_and_tell(order: TrainingOrder, progress: Progress) -> dict[str, Any]:
    return train_here(order, progress).to_document()


def train_here(order: TrainingOrder, progress: Progress) -> TrainingOutcome:
    """The same in this process, which must not be forked afterwards."""
    began, started = time.monotonic(), datetime.now(UTC)
    with Store(order.url) as store:
        progress("reading the training set", 0.0)
        span = training_span(order)
        made = events(store, order, span)
        chosen = _settings_of(order, span, made)
        found = train(made.frame, order.strategy, chosen, progress)
        seconds = time.monotonic() - began
        run = ModelRun(
            str(order.strategy), "trained", started, seconds, order.now, detail={"events": made.frame.height}
        )
        if isinstance(found, Trained):
            holdout = span[1] - timedelta(days=chosen.holdout_days), span[1]
            model_id = Registry(store).add(found, holdout, run)
            row = store.models.find(model_id)
            return TrainingOutcome(
                order.strategy, "trained", model_id, row.blocked_because, (), None, made.frame.height, seconds
            )
        told = found.to_document()
        missing = tuple(told["missing"])
        store.models.note_run(
            ModelRun(
                str(order.strategy), "insufficient_data", started, seconds, order.now, missing=missing,
                sufficient_at=found.suffices_at, detail=run.detail,
            )
        )  # fmt: skip
        return TrainingOutcome(
            order.strategy, "insufficient_data", None, (), missing, found.suffices_at, made.frame.height, seconds
        )


def reproduced(store: Store, model: Model, settings: Settings) -> Model:
    """The model of the manifest of ``model`` again, trained in this process; the same document to the byte.

    Raises TrainingSetError where the training set cannot be made again, ValueError where it is too small now.
    """
    manifest = model.manifest
    made = reproduce(store, manifest["events"], retention=retention_policy(settings))
    chosen = TrainingSettings.from_document(manifest["settings"])
    hashes = {name: getattr(model, name) for name in ("feature_schema_hash", "params_hash", "loose_hash")}
    found = train(made.frame, model.strategy, replace(chosen, manifest=manifest["events"], **hashes))
    if not isinstance(found, Trained):
        raise ValueError(f"model {model.id} cannot be trained again: {found}")
    return found.model


def training_span(order: TrainingOrder) -> tuple[datetime, datetime]:
    """First and end of the signals that a training reads: whole days whose labels have all ended, as far back as the
    bars are kept from which their features are computed.
    """
    parameters = parameter_sets(order.settings.label_parameters)[DEFAULT][order.strategy]
    until = midnight(order.now - TIMEFRAME.delta * (parameters.horizon + 1))
    starts = [until - LONGEST, *_kept_from(retention_policy(order.settings), order.now)]
    return midnight(max(starts)), until


def _kept_from(policy: RetentionPolicy, now: datetime) -> list[datetime]:
    looks = [*LOOK_BACK.items(), *BENCHMARK_LOOK_BACK.items()]
    kept = [(policy.kept_start(timeframe, now), days) for timeframe, days in looks]
    # a day more: the first kept day may begin while the training runs
    return [start + timedelta(days=days + 1) for start, days in kept if start is not None]


def events(store: Store, order: TrainingOrder, span: tuple[datetime, datetime]) -> TrainingSet:
    """The events of the wide set with those of the default set, as known now."""
    sets = parameter_sets(order.settings.label_parameters)
    return training_set(
        store,
        order.strategy,
        *span,
        parameters=sets[LOOSE][order.strategy],
        default=sets[DEFAULT][order.strategy],
        universe=Universe.from_store(store, order.settings.feature_benchmark),
        retention=retention_policy(order.settings),
    )


def _settings_of(order: TrainingOrder, span: tuple[datetime, datetime], made: TrainingSet) -> TrainingSettings:
    sets = parameter_sets(order.settings.label_parameters)
    return replace(
        order.training, until=span[1], feature_schema_hash=schema_hash(),
        params_hash=sets[DEFAULT][order.strategy].hash, loose_hash=sets[LOOSE][order.strategy].hash,
        manifest=made.manifest,
    )  # fmt: skip


def _job(strategy: Strategy) -> str:
    return f"train_{strategy}"
