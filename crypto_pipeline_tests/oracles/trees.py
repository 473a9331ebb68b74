"""Predictions by walking the trees of a LightGBM model text, one node after the other, without LightGBM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

_DEFAULT_LEFT, _NAN = 2, 2


def raw_score(text: str, row: Sequence[float]) -> float:
    """The raw score of one row of inputs: the sum of the leaf of each tree, in order."""
    total = 0.0
    for tree in _trees(text):
        total += _leaf(tree, row)
    return total


def _trees(text: str) -> Iterator[dict[str, list[str]]]:
    for block in text.split("end of trees")[0].split("\nTree=")[1:]:
        lines = (line.split("=", 1) for line in block.splitlines() if "=" in line)
        yield {name: values.split() for name, values in lines}


def _leaf(tree: dict[str, list[str]], row: Sequence[float]) -> float:
    if tree["num_leaves"] == ["1"]:
        return float(tree["leaf_value"][0])
    node = 0
    while node >= 0:
        value = row[int(tree["split_feature"][node])]
        kind = int(tree["decision_type"][node])
        missing = kind >> 2 & 3
        if math.isnan(value) and missing != _NAN:
            value = 0.0
        left = bool(kind & _DEFAULT_LEFT) if math.isnan(value) else value <= float(tree["threshold"][node])
        node = int(tree["left_child" if left else "right_child"][node])
    return float(tree["leaf_value"][~node])
