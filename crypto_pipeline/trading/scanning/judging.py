"""Each condition of a strategy at some bars: its value and whether it is met."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crypto_pipeline.arrays.panel import Flags, Floats, Ints, Panel
from crypto_pipeline.labels.setups import SPACING, bar_numbers, candidates, conditions_of
from crypto_pipeline.labels.spacing import spaced
from crypto_pipeline.labels.strategies.base import Measures, Parameters, SetupBars, StrategyDefinition
from crypto_pipeline.labels.strategies.conditions import Condition

#: Bars since the setup before it are told up to here: whatever is further back decides nothing.
_FAR = 288
#: Where a threshold is 0, a value so far on the wrong side is as wrong as can be.
_SCALE_OF_ZERO = 0.01


@dataclass(frozen=True, slots=True)
class Judgement:
    """The conditions of a strategy at ``rows`` of a panel.

    Attributes:
        conditions: In the order of the columns of ``values`` and ``met``.
        rows: Places in the panel laid flat, ascending.
        values: Rows x conditions; NaN where a bar of the window is absent.
        met: The same shape.
        measured: Measures of the whole panel.
        late: Measures at ``rows``.
    """

    conditions: tuple[Condition, ...]
    rows: Ints
    values: Floats
    met: Flags
    measured: Measures
    late: Measures

    def nearness(self, parameters: Parameters) -> Floats:
        """Per row: the mean over conditions of 1 where it is met, else of how near its value comes, from 0 to 1.

        A value that is away from its threshold by the threshold's own size (by 0.01 where that is 0) counts as 0, and
        so does one that is not known.
        """
        total = np.zeros(len(self.rows))
        for place, condition in enumerate(self.conditions):
            scale = abs(condition.threshold(parameters)) or _SCALE_OF_ZERO
            near = np.maximum(0.0, 1 + condition.margin(self.values[:, place], parameters) / scale)
            total += np.where(self.met[:, place], 1.0, np.nan_to_num(np.minimum(near, 1.0)))
        mean: Floats = total / max(1, len(self.conditions))
        return mean


def judge(definition: StrategyDefinition, bars: SetupBars, parameters: Parameters, rows: Ints) -> Judgement:
    """Judge ``rows`` (ascending). ``bars.enterable``: where the next bar is there and indicators are warm.

    A row whose next bar is absent, or still to come, is judged as if it came: what is known at the close of a bar
    decides about it. Of the bars before it, only those that could be entered keep it at a distance.
    """
    conditions = conditions_of(definition, parameters)
    measured = definition.measures(bars, parameters)
    late = definition.measures_at(bars, parameters, measured, rows)
    values = np.empty((len(rows), len(conditions)))
    met = np.empty(values.shape, np.bool_)
    for place, condition in enumerate(definition.conditions):
        name = condition.measure
        values[:, place] = bars.at(measured[name], rows) if name in measured else late[name]
        met[:, place] = condition.met(values[:, place], parameters)
    if parameters.setup_spacing is not None:
        before, _ = candidates(definition, bars, parameters, measured)
        others = np.logical_and.reduce(met[:, :-1], axis=1)
        values[:, -1] = _distances(bars.panel, before, rows, others, parameters.setup_spacing)
        met[:, -1] = SPACING.met(values[:, -1], parameters)
    return Judgement(conditions, rows, values, met, measured, late)


def _distances(panel: Panel, before: Ints, rows: Ints, others_met: Flags, spacing: int) -> Floats:
    """15m bars since the setup before each row, at most _FAR; at least ``spacing`` exactly where a setup may be.

    ``before``: rows of all candidates. Where a new week counts anew (see ``spaced``), a candidate far from the last
    setup may be too near the last candidate: then that distance is told.
    """
    candidate, asked = bar_numbers(panel, before), bar_numbers(panel, rows)
    chosen = spaced(candidate, spacing)
    setups = candidate[chosen]
    far = max(_FAR, spacing)
    since = _since(setups, asked, far)
    place = np.searchsorted(candidate, asked)
    for row in np.flatnonzero(others_met):
        at = place[row]
        if at < len(candidate) and candidate[at] == asked[row]:
            is_setup = bool(chosen[at])
        else:  # the next bar is absent or still to come
            is_setup = bool(spaced(np.append(candidate[:at], asked[row]), spacing)[-1])
        if not is_setup and since[row] >= spacing:
            since[row] = _since(candidate, asked[row : row + 1], far)[0]
    return since


def _since(marks: Ints, asked: Ints, far: int) -> Floats:
    """Distance of each of ``asked`` to the last of ``marks`` before it, at most ``far``."""
    padded = np.concatenate(([np.iinfo(np.int64).min // 2], marks))
    away: Floats = np.minimum(asked - padded[np.searchsorted(marks, asked)], far).astype(np.float64)
    return away
