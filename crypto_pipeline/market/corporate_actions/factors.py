"""What bars before a corporate action are multiplied by.

A split of ``split_to`` for ``split_from`` shares multiplies earlier prices by ``split_from / split_to`` and divides
earlier volumes by it. A dividend multiplies earlier prices by ``(close - amount) / close`` with the last close before
the ex-date, on the basis of the ex-date where a split lies between the two. The factor of a bar is the product over
all actions that take effect after it; bars after the last action have the factor 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from crypto_pipeline.market.corporate_actions.actions import ActionKind
from crypto_pipeline.market.corporate_actions.steps import dividend_steps, split_steps

Adjust = Literal["none", "splits", "all"]
ADJUST: tuple[Adjust, ...] = get_args(Adjust)

_DAY_MS = 86_400_000


def choose_adjust(value: object) -> Adjust:
    """``value`` as one of ADJUST. Raises ValueError for another."""
    for each in ADJUST:
        if value == each:
            return each
    raise ValueError(f"adjust: give 'none', 'splits' or 'all' (splits and dividends), not {value!r}")


@dataclass(frozen=True, slots=True)
class Factors:
    """The factors of one instrument, by the actions that change them, oldest first.

    ``days`` and ``times`` (Unix ms) say when each action takes effect: as 00:00 UTC of its date, which is how bars of
    a day are labelled, and as its moment. ``price`` and ``volume`` have one entry more than there are actions: entry i
    is for bars before action i and not before the one preceding it; the last is 1.
    """

    days: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    price: npt.NDArray[np.float64]
    volume: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FactorTable:
    """Factors by instrument, of those that have any; ``notes`` says which actions could not be applied, and why."""

    of_instrument: Mapping[str, Factors]
    notes: tuple[str, ...] = ()


def reference_needs(actions: pl.DataFrame) -> pl.DataFrame:
    """Dividends of ``actions`` for whose factor a close is needed: ``instrument``, ``effective_date``."""
    return actions.filter(actions["kind"] == ActionKind.DIVIDEND).select("instrument", "effective_date")


def factor_table(
    actions: pl.DataFrame, adjust: Adjust, closes: pl.DataFrame | None = None, quotes: Mapping[str, str] | None = None
) -> FactorTable:
    """The factors of ``actions`` (ACTION_SCHEMA): of splits alone, or with ``adjust="all"`` of dividends too.

    ``closes`` are daily bars as stored (``instrument``, ``open_time``, ``close``), in order. ``quotes`` are the
    currencies of instruments: a dividend in another one cannot be applied.
    """
    number_of: dict[str, int] = {}
    names = actions["instrument"].to_list()
    numbers = np.array([number_of.setdefault(name, len(number_of)) for name in names], dtype=np.int64)
    steps, notes = split_steps(actions, numbers), list[str]()
    if adjust == "all":
        paid, notes = dividend_steps(actions, names, numbers, steps, closes, quotes or {})
        steps += paid
    ends = np.searchsorted(steps.numbers, np.arange(len(number_of)), side="right").tolist()
    days, begin, tables = steps.days * _DAY_MS, 0, {}
    for name, end in zip(number_of, ends, strict=True):
        if begin < end:
            own = slice(begin, end)
            price, volume = _products(steps.split[own] * steps.paid[own]), 1.0 / _products(steps.split[own])
            tables[name] = Factors(days[own], steps.times[own], price, volume)
        begin = end
    return FactorTable(tables, tuple(notes))


def _products(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of every place the product of it and all later ones, and at the end 1."""
    return np.append(np.cumprod(steps[::-1])[::-1], 1.0)
