"""Overlap of labels across splits: no label that was learned from may live while a label that judges does."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from crypto_pipeline.arrays.panel import Ints
from crypto_pipeline.models.safeguards.finding import ModelFinding
from crypto_pipeline.models.splits import overlaps


def overlapping(events: pl.DataFrame, splits: Mapping[str, tuple[Ints, Ints]]) -> list[ModelFinding]:
    """Findings about ``splits``: by name the rows of ``events`` that were learned from, and those that judged."""
    found = []
    for name, (train, test) in splits.items():
        if count := overlaps(events, train, test):
            message = f"{count} labels that {name} learned from live while labels that judge it do"
            found.append(ModelFinding("label_overlap", name, float(count), 0.0, message))
    return found
