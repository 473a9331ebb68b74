"""Settings of training: what is fitted, how it is split, and the least that it may rest on. All are plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

from crypto_pipeline.market.timeframes import parse_time


@dataclass(frozen=True, slots=True)
class BoostingSettings:
    """Parameters of LightGBM: small, slow trees, because there is little to learn and much noise.

    A leaf has at least ``least_in_leaf`` events and ``least_share_in_leaf`` of all. ``threads`` is fixed because sums
    depend on it; one leaves the other processors to what collects, and threads that wait for each other cost most where
    a machine is busy.
    """

    seed: int = 13
    threads: int = 1
    rounds: int = 200
    learning_rate: float = 0.03
    leaves: int = 15
    depth: int = 5
    least_in_leaf: int = 30
    least_share_in_leaf: float = 0.01
    l2: float = 10.0
    feature_fraction: float = 0.4
    bagging_fraction: float = 0.7
    bins: int = 63


@dataclass(frozen=True, slots=True)
class Minima:
    """The least that a model may rest on; with less there is none, and the strategy stays with its rules."""

    events: int = 500
    of_each_class: int = 100
    days: float = 60.0
    instruments: int = 20
    holdout_default_events: int = 100


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """All that decides what training gives, beside the events.

    ``until``: end (exclusive, UTC) of the signals, which the hold-out ends with; None: just after the last event.
    ``inputs``: a part of the strategy's inputs, for experiments; None: all. ``margin``: a trade is taken from p* plus
    this on. The hashes and the ``manifest`` of the training set are written into the model as they are.
    """

    boosting: BoostingSettings = field(default_factory=BoostingSettings)
    minima: Minima = field(default_factory=Minima)
    until: datetime | None = None
    inputs: tuple[str, ...] | None = None
    folds: int = 6
    test_days: int = 14
    holdout_days: int = 28
    calibration_share: float = 0.15
    margin: float = 0.03
    probes: int = 64
    feature_schema_hash: str = ""
    params_hash: str = ""
    loose_hash: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """As JSON values, without the hashes and the manifest, which stand in the model beside them."""
        document = asdict(self)
        for name in ("manifest", "feature_schema_hash", "params_hash", "loose_hash"):
            del document[name]
        return document | {"until": self.until.isoformat() if self.until else None}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """From ``to_document``."""
        given = dict(document)
        until, inputs = given["until"], given["inputs"]
        return cls(
            **given
            | {
                "boosting": BoostingSettings(**given["boosting"]),
                "minima": Minima(**given["minima"]),
                "until": parse_time(until) if until else None,
                "inputs": tuple(inputs) if inputs else None,
            }
        )
