"""Marks: the last close of an instrument at a moment, at which open positions are valued."""

from __future__ import annotations

import math

import numpy as np

from crypto_pipeline.arrays.panel import Floats, Panel


class Marks:
    """Closes of a panel, each carried on while bars are absent. ``until``: the close of its last bar."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._numbers = {name: number for number, name in enumerate(panel.names)}
        self._carried: dict[str, list[float]] = {}
        self.until = panel.grid.first + panel.width * panel.grid.step

    def close(self, instrument: str, moment: int) -> float | None:
        """The last close at ``moment`` (Unix ms) or before; None where the panel has none."""
        closes = self._carried.get(instrument)
        if closes is None:
            closes = self._carried[instrument] = _carried(self._panel.close[self._numbers[instrument]]).tolist()
        place = (moment - self._panel.grid.first) // self._panel.grid.step - 1
        if not 0 <= place < len(closes):
            return None
        value = closes[place]
        return None if math.isnan(value) else value


def _carried(closes: Floats) -> Floats:
    """Each close, or the last before it; NaN before the first."""
    there = np.where(np.isnan(closes), -1, np.arange(len(closes)))
    last = np.maximum.accumulate(there)
    return np.where(last >= 0, closes[np.maximum(last, 0)], np.nan)
