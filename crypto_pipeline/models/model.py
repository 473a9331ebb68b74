"""A trained model as a value: all that predicts, explains and checks, as one JSON document (never pickle)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cached_property
from typing import Any, Self

import numpy as np

from crypto_pipeline.arrays.panel import Floats
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.market.timeframes import parse_time, require_utc

#: Raised when a document has other fields or another meaning.
FORMAT = 1


@dataclass(frozen=True)
class Model:
    """One model of one strategy. Two with equal fields have the same ``sha256`` and the same ``id``.

    ``text``: LightGBM's model text. ``calibrator``: ``Calibrator.to_document``. ``inputs``: names in the order of the
    matrix. ``null_rates``: share of nulls of each input among the rows it learned from. ``params_hash`` and
    ``loose_hash``: of the parameter sets that it is used and trained on. ``break_even``: p* by tier (see
    ``break_even.py``); a tier that is absent has none. ``trained_from`` to ``trained_until``: from the first signal to
    the end of the last label it learned from (UTC). ``manifest``: of the training set, with the settings. ``probes``:
    raw inputs of some of its rows (rows x inputs, float64, NaN for null), ``probe_answers`` their probabilities.
    """

    strategy: Strategy
    text: str
    calibrator: Mapping[str, Any]
    inputs: tuple[str, ...]
    null_rates: Mapping[str, float]
    feature_schema_hash: str
    params_hash: str
    loose_hash: str
    break_even: Mapping[str, float]
    trained_from: datetime
    trained_until: datetime
    manifest: Mapping[str, Any]
    metrics: Mapping[str, Any]
    importances: Mapping[str, Any]
    versions: Mapping[str, str]
    seed: int
    probes: Floats = field(repr=False, compare=False)
    probe_answers: Floats = field(repr=False, compare=False)

    def to_document(self) -> dict[str, Any]:
        """As JSON values. NaN of a probe is null, -0.0 is 0.0 (not every store keeps its sign)."""
        document: dict[str, Any] = {"format": FORMAT}
        for each in fields(self):
            document[each.name] = _as_json(getattr(self, each.name))
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """From ``to_document``; ValueError where it has another format or lacks a field."""
        if document.get("format") != FORMAT:
            raise ValueError(f"model of format {document.get('format')!r}: this version reads {FORMAT}")
        if absent := [each.name for each in fields(cls) if each.name not in document]:
            raise ValueError(f"the document of a model lacks {', '.join(absent)}")
        given = {each.name: document[each.name] for each in fields(cls)}
        given["strategy"] = Strategy.parse(given["strategy"])
        given["inputs"] = tuple(given["inputs"])
        for name in ("trained_from", "trained_until"):
            given[name] = parse_time(given[name])
        width = len(given["inputs"])
        given["probes"] = np.array(given["probes"], dtype=np.float64).reshape(-1, width)
        given["probe_answers"] = np.array(given["probe_answers"], dtype=np.float64)
        return cls(**given)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the document in its one canonical form."""
        return document_hash(self.to_document())

    @property
    def id(self) -> str:
        """Short name: the first 16 digits of ``sha256``."""
        return self.sha256[:16]


def document_hash(document: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON document: keys sorted, no spaces, numbers as Python writes them."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _as_json(value: Any) -> Any:
    """``value`` as JSON holds it: times as ISO text in UTC, NaN as null, numpy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return _as_json(value.tolist())
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    if isinstance(value, np.generic):
        return _as_json(value.item())
    if isinstance(value, float):
        return value + 0.0 if np.isfinite(value) else None
    if isinstance(value, datetime):
        return require_utc(value).isoformat()
    return str(value) if isinstance(value, Strategy) else value
