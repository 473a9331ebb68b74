"""Whether a strategy's models may be believed: what the newest one was trained on, and what the one in use does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import polars as pl

from crypto_pipeline.features.stored.checks import verify_features
from crypto_pipeline.labels.parameters import DEFAULT, LOOSE, parameter_sets
from crypto_pipeline.labels.stored.training import training_set
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.severity import Severity
from crypto_pipeline.models.predictor import Predictor
from crypto_pipeline.models.refusal import PredictionRefused
from crypto_pipeline.models.safeguards.age import REFUSE_AFTER, WARN_AFTER, ModelAge, age_of
from crypto_pipeline.models.safeguards.finding import ModelFinding
from crypto_pipeline.models.safeguards.matured import LEAST_MATURED, input_drift, matured_findings
from crypto_pipeline.models.stored.matured import matured_predictions
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.research.models.rows import StoredModel

CHECKS = {
    "label_overlap": "No label that a fold, the calibration or the model learned from lives while one that "
    "judges does.",
    "no_leak": "No input of the model knows what came later: neither in what it learned from nor computed again from "
    "bars cut short.",
    "parity": "The model gives its stored probe rows their stored answers, and live features equal those of history.",
    "too_good_to_be_true": "No result is better than markets allow: AUC, accuracy, and the weight of a single input.",
    "calibration": "Probabilities of matured predictions mean what they say.",
    "brier_skill": "Matured predictions say more than the base rate alone.",
    "input_drift": "The last week's inputs look as inputs of a week did before.",
    "age": f"The model in use learned from data that ended less than {WARN_AFTER.days} days ago (refused from "
    f"{REFUSE_AFTER.days} days on).",
    "champion_present": "Where a model has earned its place it can be used.",
}
#: Findings of training by the check that tells them.
_OF_TRAINING = {
    "label_overlap": ("label_overlap",),
    "no_leak": ("leaky_input", "input_schema"),
    "too_good_to_be_true": ("too_good_to_be_true",),
}
#: History that the inputs of the last week are compared with, and the days at its end whose labels may be open.
_HISTORY = timedelta(days=120)


def verify_models(
    store: Store,
    strategy: Strategy,
    settings: Settings,
    now: datetime,
    names: Sequence[str] = tuple(CHECKS),
) -> list[CheckOutcome]:
    """Run the checks ``names``. ``now``: by the market's clock (UTC). The subject of each outcome is the strategy."""
    seen = _Seen(store, strategy, settings, now)
    checks = {
        "label_overlap": lambda: _of_training(seen, "label_overlap", "no label reaches from train into test"),
        "no_leak": lambda: _no_leak(seen),
        "parity": lambda: _parity(seen),
        "too_good_to_be_true": lambda: _of_training(seen, "too_good_to_be_true", "no result is too good"),
        "calibration": lambda: _matured(seen, "calibration", "calibration_drift"),
        "brier_skill": lambda: _matured(seen, "brier_skill", "brier_skill"),
        "input_drift": lambda: _input_drift(seen),
        "age": lambda: _age(seen),
        "champion_present": lambda: _champion_present(seen),
    }
    return [checks[name]() for name in names]


@dataclass(frozen=True)
class _Seen:
    """What the checks of one strategy look at, each read once."""

    store: Store
    strategy: Strategy
    settings: Settings
    now: datetime

    @cached_property
    def newest(self) -> StoredModel | None:
        """The model that was trained last, also one that is blocked."""
        return max(self.store.models.every(str(self.strategy)), key=lambda model: model.created_at, default=None)

    @cached_property
    def champion(self) -> StoredModel | None:
        """The model in use."""
        return Registry(self.store).named(self.strategy, "champion")

    @cached_property
    def matured(self) -> pl.DataFrame:
        """Matured predictions of the model in use, with the base rate that it was trained on."""
        assert self.champion is not None
        parameters = parameter_sets(self.settings.label_parameters)[DEFAULT][self.strategy]
        rows = matured_predictions(self.store, self.strategy, parameters, self.champion.model_id)
        return rows.with_columns(pl.lit(float(self.champion.metrics["base_rate"])).alias("base_rate"))

    @cached_property
    def findings_of_use(self) -> list[ModelFinding]:
        """What matured predictions of the model in use say of it."""
        return matured_findings(self.matured)

    def outcome(
        self, name: str, passed: bool, severity: Severity, words: str, rows: pl.DataFrame | None = None
    ) -> CheckOutcome:
        """The outcome of the check ``name``."""
        return CheckOutcome(name, self.strategy, passed, severity, words, pl.DataFrame() if rows is None else rows)

    def untrained(self, name: str) -> CheckOutcome:
        """That there is nothing to check yet."""
        return self.outcome(name, True, "info", f"no {self.strategy} model was trained yet: rules alone")

    def unused(self, name: str) -> CheckOutcome:
        """That no model is in use."""
        return self.outcome(name, True, "info", f"no {self.strategy} model is in use: rules alone")


def _findings(model: StoredModel) -> list[ModelFinding]:
    return [ModelFinding(**each) for each in model.metrics.get("findings", ())]


def _told(findings: Sequence[ModelFinding]) -> tuple[str, pl.DataFrame]:
    """Findings in a sentence, and as rows."""
    rows = pl.DataFrame([finding.to_document() for finding in findings], infer_schema_length=None)
    more = f", and {len(findings) - 3} more" if len(findings) > 3 else ""
    return "; ".join(finding.message for finding in findings[:3]) + more, rows


def _of_training(seen: _Seen, name: str, well: str) -> CheckOutcome:
    """What the safeguards found when the newest model was trained."""
    model = seen.newest
    if model is None:
        return seen.untrained(name)
    found = [finding for finding in _findings(model) if finding.check in _OF_TRAINING[name]]
    if found:
        words, rows = _told(found)
        return seen.outcome(name, False, "error", f"model {model.model_id}: {words}", rows)
    return seen.outcome(name, True, "error", f"model {model.model_id}: {well}")


def _no_leak(seen: _Seen) -> CheckOutcome:
    """The findings of training, then features of the end of what it learned from, computed again."""
    found = _of_training(seen, "no_leak", "no input knows what came later")
    if seen.newest is None or not found.passed:
        return found
    return _of_features(seen, "no_leak", seen.newest.trained_from, seen.newest.trained_until, found)


def _parity(seen: _Seen) -> CheckOutcome:
    """The probe rows of the newest model here, then the live rows of the last two days."""
    if seen.newest is None:
        return seen.untrained("parity")
    try:
        Predictor(Registry(seen.store).load(seen.newest.model_id))
    except PredictionRefused as refused:
        return seen.outcome("parity", False, "error", str(refused))
    well = seen.outcome("parity", True, "error", f"model {seen.newest.model_id}: all probe rows have their answers")
    return _of_features(seen, "parity", seen.now - timedelta(days=2), seen.now, well)


def _of_features(seen: _Seen, name: str, start: datetime, end: datetime, well: CheckOutcome) -> CheckOutcome:
    """``well``, together with what the same check of features says of ``[start, end)``."""
    benchmark = seen.settings.feature_benchmark
    (found,) = verify_features(seen.store, start, end, benchmark=benchmark, now=seen.now, names=[name])
    words = f"{well.summary}; features: {found.summary}"
    return seen.outcome(name, found.passed, found.severity, words, found.offenders)


def _matured(seen: _Seen, name: str, check: str) -> CheckOutcome:
    """What matured predictions of the model in use say of it."""
    if seen.champion is None:
        return seen.unused(name)
    rows = seen.matured
    found = [finding for finding in seen.findings_of_use if finding.check == check]
    if found:
        words, offenders = _told(found)
        return seen.outcome(name, False, "warning", words, offenders)
    few = f", fewer than the {LEAST_MATURED} that say something" if rows.height < LEAST_MATURED else ""
    return seen.outcome(name, True, "warning", f"{rows.height} matured predictions{few}")


def _input_drift(seen: _Seen) -> CheckOutcome:
    """Inputs of the events of the last months; the newest of them are those whose label has ended."""
    if seen.champion is None:
        return seen.unused("input_drift")
    sets = parameter_sets(seen.settings.label_parameters)
    made = training_set(
        seen.store, seen.strategy, seen.now - _HISTORY, seen.now,
        parameters=sets[LOOSE][seen.strategy], default=sets[DEFAULT][seen.strategy],
    )  # fmt: skip
    last = made.frame["available_at"].max()
    if not isinstance(last, datetime):
        return seen.outcome("input_drift", True, "warning", "no event of the last months has ended")
    found = input_drift(
        made.frame, [name for name in seen.champion.input_names if name in made.frame.columns], last.date()
    )
    # Of independent inputs one in a hundred drifts by chance; they are not independent.
    most = max(1, len(seen.champion.input_names) // 10)
    words, rows = _told(found)
    passed = len(found) <= most
    said = f"{len(found)} of {len(seen.champion.input_names)} inputs drift, {most} may by chance"
    return seen.outcome("input_drift", passed, "warning", said + (f": {words}" if found else ""), rows)


def _age(seen: _Seen) -> CheckOutcome:
    """How old the data is that the model in use learned from."""
    if seen.champion is None:
        return seen.unused("age")
    until = seen.champion.trained_until
    age = age_of(until, seen.now)
    severity: Severity = "error" if age is ModelAge.TOO_OLD else "warning"
    refuses = ": it predicts no more" if age is ModelAge.TOO_OLD else ""
    words = (
        f"model {seen.champion.model_id} learned from data until {until:%Y-%m-%d}, {(seen.now - until).days} days ago"
    )
    return seen.outcome("age", age is ModelAge.FRESH, severity, f"{words}{refuses}")


def _champion_present(seen: _Seen) -> CheckOutcome:
    """Whether the model in use can be used; without one, why."""
    name = "champion_present"
    if seen.champion is not None:
        try:
            Predictor(Registry(seen.store).load(seen.champion.model_id))
        except PredictionRefused as refused:
            return seen.outcome(name, False, "error", f"the model in use cannot be used: {refused}")
        return seen.outcome(name, True, "error", f"model {seen.champion.model_id} is in use")
    run = seen.store.models.newest_run(str(seen.strategy))
    if run is None:
        return seen.untrained(name)
    if run.status == "insufficient_data":
        missing = "; ".join(f"{each['have']:g} of {each['needed']:g} {each['what']}" for each in run.missing)
        when = f"; enough about {run.sufficient_at:%Y-%m-%d}" if run.sufficient_at else ""
        return seen.outcome(name, True, "info", f"rules alone, insufficient data: {missing}{when}")
    return seen.outcome(name, True, "info", "rules alone: no model has passed the test of promotion yet")
