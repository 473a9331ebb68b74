"""Charts of a trained model as PNG bytes, from the curves that stand in its metrics. Every row behind them is
out-of-fold: scored by a model that had not seen it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from crypto_pipeline.ops.charts.bars import figure, png

_INK, _MODEL, _RULES, _EXACT = "#30363d", "#1f5fa8", "#9aa4af", "#c0392b"
_MOST_INPUTS = 20


def reliability(curve: Sequence[Mapping[str, float]], title: str) -> bytes:
    """Draw what came against what was said: share of wins by bins of probability, and how many rows each bin has.

    ``curve`` has ``probability``, ``observed`` (both 0 to 1) and ``rows``. Returns PNG bytes.
    """
    drawn, (share, rows) = figure(4.6, 4.6, rows=2, ratios=(4, 1))
    said = [each["probability"] for each in curve]
    share.plot([0, 1], [0, 1], color=_RULES, linestyle="dashed", linewidth=1, label="exact")
    share.plot(said, [each["observed"] for each in curve], color=_MODEL, marker="o", markersize=4, label="out of fold")
    share.set_ylabel("share that won", fontsize=8)
    share.set_title(f"{title}: reliability", fontsize=9, color=_INK)
    share.legend(fontsize=7, frameon=False, loc="upper left")
    rows.bar(said, [each["rows"] for each in curve], width=0.05, color=_MODEL)
    rows.set_ylabel("rows", fontsize=8)
    rows.set_xlabel("probability", fontsize=8)
    for axes in (share, rows):
        axes.set_xlim(0, 1)
        axes.tick_params(labelsize=7)
    return png(drawn)


def learning(curve: Sequence[Mapping[str, float]], base: float | None, title: str) -> bytes:
    """Draw the log-loss of the last fold's test by the number of events learned from.

    ``curve`` has ``rows`` and ``log_loss`` (nats); ``base``: of the base rate, on the same test. Returns PNG bytes.
    """
    drawn, axes = figure(4.6, 3.0)
    axes.plot([each["rows"] for each in curve], [each["log_loss"] for each in curve], color=_MODEL, marker="o")
    if base is not None:
        axes.axhline(base, color=_RULES, linestyle="dashed", linewidth=1, label="base rate")
        axes.legend(fontsize=7, frameon=False)
    axes.set_xlabel("events learned from", fontsize=8)
    axes.set_ylabel("log-loss of the last test", fontsize=8)
    axes.set_title(f"{title}: learning", fontsize=9, color=_INK)
    axes.tick_params(labelsize=7)
    return png(drawn)


def profit(curve: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Draw the sums of net returns of what the model would have taken out of fold, and of every event of the rules.

    ``curve`` has ``day`` (ISO date, UTC), ``taken`` and ``rule`` (in stakes). Returns PNG bytes.
    """
    drawn, axes = figure(6.4, 3.0)
    days = [date.fromisoformat(each["day"]) for each in curve]
    for name, colour, words in (("rule", _RULES, "every event"), ("taken", _MODEL, "taken by the model")):
        axes.plot(days, [each[name] for each in curve], color=colour, drawstyle="steps-post", label=words)
    axes.axhline(0, color=_INK, linewidth=0.6)
    axes.set_ylabel("sum of net returns, in stakes", fontsize=8)
    axes.set_title(f"{title}: out-of-fold decisions", fontsize=9, color=_INK)
    axes.legend(fontsize=7, frameon=False)
    axes.tick_params(labelsize=7)
    drawn.autofmt_xdate()
    return png(drawn)


def importances(gain: Mapping[str, float], permutation: Mapping[str, float], title: str) -> bytes:
    """Draw the inputs with most gain: their share of it, and by how much the log-loss rises when one is shuffled.

    ``gain``: shares by input; ``permutation``: nats by input, on rows the model had not seen. Returns PNG bytes.
    """
    names = sorted(gain, key=lambda name: gain[name])[-_MOST_INPUTS:]
    drawn, _ = figure(8.0, 0.9 + 0.17 * max(len(names), 6))
    drawn.clear()
    shares, losses = drawn.subplots(1, 2, sharey=True)
    shares.barh(names, [gain[name] for name in names], color=_MODEL)
    shares.set_xlabel("share of gain", fontsize=8)
    risen = [permutation.get(name, 0.0) for name in names]
    losses.barh(names, risen, color=[_MODEL if value > 0 else _EXACT for value in risen])
    losses.axvline(0, color=_INK, linewidth=0.6)
    losses.set_xlabel("log-loss when shuffled, more", fontsize=8)
    for axes in (shares, losses):
        axes.tick_params(labelsize=6)
    drawn.suptitle(f"{title}: importance of inputs", fontsize=9, color=_INK)
    return png(drawn)
