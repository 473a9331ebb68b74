"""Predicting with one model, in memory: the same numbers to the bit for one row and for many, live and in batch.

Inputs are matched by name, in any order. What a model cannot answer it refuses by name: LightGBM itself would score a
row whose columns are shuffled, take a null that it never saw for 0, and follow a NaN down some branch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Flags, Floats
from crypto_pipeline.models.booster import LightGbmError, NativeBooster
from crypto_pipeline.models.calibration import Calibrator
from crypto_pipeline.models.inputs import TIER_NUMBERS
from crypto_pipeline.models.model import Model
from crypto_pipeline.models.refusal import PredictionRefused, RefusalReason
from crypto_pipeline.models.safeguards.age import REFUSE_AFTER

#: A null is refused where it was rarer than this in training: that few rows are fewer than a leaf has, so nothing was
#: learned of it.
NEARLY_NEVER = 0.005
#: Names of inputs that a message lists.
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Prediction:
    """``probability``: that the net return is above 0. ``raw``: log-odds before calibration. ``p_star``: the
    probability at which nothing is won or lost. ``contributions``: what each input adds to ``raw``, in the order of the
    model's inputs, then the base value; None unless they were asked for.
    """

    probability: float
    raw: float
    p_star: float
    contributions: Floats | None = None


Outcome: TypeAlias = Prediction | PredictionRefused


@dataclass(frozen=True, slots=True)
class InputRows:
    """Rows of inputs: ``matrix`` (rows x inputs, float64; NaN where ``nulls``), and where a value is no number."""

    matrix: Floats
    nulls: Flags
    bad: Flags
    tiers: Sequence[Any]


class Predictor:
    """One model, loaded and proven: its stored probe rows give their stored answers to the bit. Thread-safe.

    Raises PredictionRefused where the model text is damaged or the answers differ.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._calibrator = Calibrator.from_document(model.calibrator)
        self._strict = np.array([model.null_rates.get(name, 0.0) < NEARLY_NEVER for name in model.inputs])
        try:
            self._booster = NativeBooster(model.text, len(model.inputs))
        except LightGbmError as error:
            raise PredictionRefused(RefusalReason.DAMAGED, f"model {model.id} cannot be loaded: {error}") from None
        self._prove()

    def _prove(self) -> None:
        found = self._calibrator.apply(self._booster.raws(self.model.probes))
        wrong = int((found.view(np.int64) != self.model.probe_answers.view(np.int64)).sum())
        if wrong or not len(found):
            said = (
                f"{wrong} of {len(found)} stored probe rows have another answer here" if wrong else "it has no probes"
            )
            raise PredictionRefused(RefusalReason.PROBES_DIFFER, f"model {self.model.id}: {said}")

    def require_usable(self, now: datetime, feature_schema_hash: str) -> None:
        """Raise PredictionRefused where the model is too old at ``now`` (UTC, the market's clock), or learned from
        features that are computed otherwise than those with ``feature_schema_hash``.
        """
        model = self.model
        if model.feature_schema_hash != feature_schema_hash:
            raise PredictionRefused(
                RefusalReason.OTHER_FEATURES,
                f"model {model.id} learned from features {model.feature_schema_hash}, these are {feature_schema_hash}",
            )
        age = now - model.trained_until
        if age > REFUSE_AFTER:
            said = f"model {model.id} learned from data until {model.trained_until:%Y-%m-%d}: {age.days} days ago"
            raise PredictionRefused(RefusalReason.TOO_OLD, f"{said}, more than {REFUSE_AFTER.days}")

    def predict(self, row: Mapping[str, Any], *, explain: bool = False) -> Prediction:
        """The prediction of one row: values by the names of inputs (None for null, ``tier`` as text).

        Further names are left alone. Raises PredictionRefused.
        """
        rows = self._of_mapping(row)
        if (refused := self._refusals(rows)[0]) is not None:
            raise refused
        raw = self._booster.raw(rows.matrix[0])
        return self._prediction(raw, float(self._calibrator.apply(np.array([raw]))[0]), rows, 0, explain)

    def predict_all(self, rows: pl.DataFrame, *, explain: bool = False) -> list[Outcome]:
        """A prediction or a refusal for every row, in their order; to the bit what ``predict`` gives for each.

        Raises PredictionRefused where an input has no column.
        """
        given = self._of_frame(rows)
        refusals = self._refusals(given)
        raws = self._booster.raws(np.where(np.isfinite(given.matrix), given.matrix, np.nan))
        probabilities = self._calibrator.apply(raws).tolist()
        return [
            self._prediction(raw, probability, given, place, explain) if refused is None else refused
            for place, (raw, probability, refused) in enumerate(
                zip(raws.tolist(), probabilities, refusals, strict=True)
            )
        ]

    def inputs_of(self, row: Mapping[str, Any]) -> tuple[float | None, ...]:
        """The values of a row as they are stored: in the order of inputs, null as None, a missing one too."""
        rows = self._of_mapping(dict.fromkeys(self.model.inputs) | dict(row))
        values, nulls = rows.matrix[0].tolist(), rows.nulls[0].tolist()
        return tuple(None if null else value for value, null in zip(values, nulls, strict=True))

    def _prediction(self, raw: float, probability: float, rows: InputRows, place: int, explain: bool) -> Prediction:
        parts = self._booster.contributions(np.ascontiguousarray(rows.matrix[place])) if explain else None
        return Prediction(probability, raw, float(self.model.break_even[rows.tiers[place]]), parts)

    def _of_mapping(self, row: Mapping[str, Any]) -> InputRows:
        names = self.model.inputs
        if missing := tuple(name for name in names if name not in row):
            raise _missing(missing)
        matrix = np.full((1, len(names)), np.nan)
        nulls, bad = np.zeros((1, len(names)), np.bool_), np.zeros((1, len(names)), np.bool_)
        for place, name in enumerate(names):
            value = row[name]
            if name == "tier" and isinstance(value, str):
                value = TIER_NUMBERS.get(value, math.nan)
            if value is None:
                nulls[0, place] = True
                continue
            number = _number(value)
            matrix[0, place], bad[0, place] = number, not math.isfinite(number)
        return InputRows(matrix, nulls, bad, [row.get("tier")])

    def _of_frame(self, rows: pl.DataFrame) -> InputRows:
        names = self.model.inputs
        if missing := tuple(name for name in names if name not in rows.columns):
            raise _missing(missing)
        columns = [_as_float(rows.get_column(name)) for name in names]
        nulls = np.empty((rows.height, len(names)), np.bool_, order="F")
        matrix = np.empty(nulls.shape, order="F")
        for place, (name, column) in enumerate(zip(names, columns, strict=True)):
            values = column.to_numpy()
            matrix[:, place], nulls[:, place] = values, False
            if rows.get_column(name).null_count():
                nulls[:, place] = rows.get_column(name).is_null().to_numpy()
        bad = ~np.isfinite(matrix) & ~nulls
        tiers = rows["tier"].to_list() if "tier" in rows.columns else [None] * rows.height
        return InputRows(matrix, nulls, bad, tiers)

    def _refusals(self, rows: InputRows) -> list[PredictionRefused | None]:
        found: list[PredictionRefused | None] = [None] * len(rows.matrix)
        wrong = (rows.bad | (rows.nulls & self._strict)).any(axis=1)
        for place, tier in enumerate(rows.tiers):
            if wrong[place]:
                found[place] = self._refusal(rows.bad[place], rows.nulls[place] & self._strict)
            elif not isinstance(tier, str) or tier not in self.model.break_even:
                said = f"the model has no break-even probability of tier {tier!r}"
                found[place] = PredictionRefused(RefusalReason.UNKNOWN_TIER, said, ("tier",))
        return found

    def _refusal(self, bad: Flags, null: Flags) -> PredictionRefused:
        if bad.any():
            names = self._names(bad)
            return PredictionRefused(RefusalReason.NOT_A_NUMBER, f"not a finite number: {_listed(names)}", names)
        names = self._names(null)
        return PredictionRefused(
            RefusalReason.NULL_INPUT, f"null, which was (nearly) never null in training: {_listed(names)}", names
        )

    def _names(self, which: Flags) -> tuple[str, ...]:
        return tuple(name for name, wrong in zip(self.model.inputs, which.tolist(), strict=True) if wrong)


def _as_float(column: pl.Series) -> pl.Series:
    """A column as Float64; NaN for what is no number."""
    if column.dtype == pl.Float64:
        return column
    if column.dtype == pl.String and column.name == "tier":
        return column.replace_strict(TIER_NUMBERS, default=math.nan, return_dtype=pl.Float64)
    if column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
        return column.cast(pl.Float64)
    return pl.Series(column.name, [math.nan] * len(column), dtype=pl.Float64)


def _number(value: Any) -> float:
    """A value as a float; NaN for what is none."""
    try:
        return float(value) if isinstance(value, int | float | np.number | np.bool_) else math.nan
    except OverflowError:
        return math.inf


def _missing(names: tuple[str, ...]) -> PredictionRefused:
    return PredictionRefused(RefusalReason.MISSING_INPUT, f"missing: {_listed(names)}", names)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
