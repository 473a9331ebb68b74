"""What a model is given: the names of its inputs in order, and the matrix of their values.

Columns are matched by name. A null is NaN in the matrix; a NaN or an infinity in the rows themselves is an error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from crypto_pipeline.arrays.panel import Floats
from crypto_pipeline.features.definitions.registry import NAMES
from crypto_pipeline.labels.strategies.base import TRADED
from crypto_pipeline.labels.strategies.registry import Strategy

#: Numbers of the tiers, the most liquid first.
TIER_NUMBERS: dict[str, int] = {str(tier): number for number, tier in enumerate(TRADED)}
#: States of the market that are inputs as the numbers that are stored.
STATE_INPUTS = ("regime", "stress")


class InputError(ValueError):
    """Rows cannot be given to a model; ``names`` are the inputs at fault, the message says what is wrong with them."""

    def __init__(self, message: str, names: Sequence[str]) -> None:
        super().__init__(message)
        self.names = tuple(names)


def input_names(strategy: Strategy) -> tuple[str, ...]:
    """Inputs of the model of ``strategy``, in order: the setup's measures, every feature, regime, stress and tier.

    A measure that is text, or known only after the entry (how many orders were filled), is no input.
    """
    definition = strategy.definition
    known = [
        f"setup_{name}"
        for name, (dtype, _) in definition.table.measures.items()
        if name not in definition.known_after_entry and dtype != pl.String()
    ]
    return (*known, *NAMES, *STATE_INPUTS, "tier")


def input_matrix(rows: pl.DataFrame, names: Sequence[str]) -> Floats:
    """Values of the inputs ``names`` of ``rows``: C-contiguous float64, rows x inputs; a null is NaN.

    ``tier`` is a name of TIER_NUMBERS. Raises InputError that names the columns which are absent, are no numbers, hold
    a NaN or an infinity, or an unknown tier.
    """
    if absent := [name for name in names if name not in rows.columns]:
        raise InputError(f"inputs are missing: {', '.join(absent)}", absent)
    matrix = np.empty((rows.height, len(names)))
    faults = []
    for place, name in enumerate(names):
        column = rows[name]
        values = _tiers(column) if name == "tier" else _numbers(column)
        if values is None or (values.is_nan() | values.is_infinite()).any():
            faults.append(name)
        else:
            matrix[:, place] = values.to_numpy()
    if faults:
        raise InputError(f"inputs hold a NaN, an infinity or what is no number: {', '.join(faults)}", faults)
    return matrix


def _tiers(column: pl.Series) -> pl.Series | None:
    """The numbers of tiers; None where one is unknown."""
    if column.dtype == pl.Null:
        return _numbers(column)
    if column.dtype != pl.String or not set(column.drop_nulls().unique()) <= set(TIER_NUMBERS):
        return None
    return column.replace_strict(TIER_NUMBERS, default=None, return_dtype=pl.Float64)


def _numbers(column: pl.Series) -> pl.Series | None:
    """A column as Float64; None where it holds no numbers."""
    numeric = column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)
    return column.cast(pl.Float64) if numeric else None
