"""Marks: the last close of an instrument at a moment, at which open positions are valued."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from crypto_pipeline.arrays.panel import Floats, Panel
from crypto_pipeline.trading.money import exact


class Marks:
    """Closes of a panel, each carried on while bars are absent. ``until``: the close of its last bar.

    What was asked for once is kept, so that several accounts may share it.
    """

    def __init__(self, panel: Panel) -> None:
        self._first, self._step = panel.grid.first, panel.grid.step
        self._panel = panel
        self._numbers = {name: number for number, name in enumerate(panel.names)}
        self._carried: dict[str, list[float]] = {}
        self._exact: dict[tuple[str, int], Decimal] = {}
        self.until = panel.grid.first + panel.width * panel.grid.step

    def close(self, instrument: str, moment: int) -> float | None:
        """The last close at ``moment`` (Unix ms) or before; None where the panel has none."""
        closes = self._carried.get(instrument)
        if closes is None:
            closes = self._carried[instrument] = _carried(self._panel.close[self._numbers[instrument]]).tolist()
        place = (moment - self._first) // self._step - 1
        if not 0 <= place < len(closes):
            return None
        value = closes[place]
        return value if value == value else None  # NaN is not itself

    def exact_close(self, instrument: str, moment: int) -> Decimal | None:
        """``close`` as the decimal that prints the same."""
        found = self._exact.get((instrument, moment))
        if found is None and (close := self.close(instrument, moment)) is not None:
            found = self._exact[instrument, moment] = exact(close)
        return found


def _carried(closes: Floats) -> Floats:
    """Each close, or the last before it; NaN before the first."""
    there = np.where(np.isnan(closes), -1, np.arange(len(closes)))
    last = np.maximum.accumulate(there)
    return np.where(last >= 0, closes[np.maximum(last, 0)], np.nan)
