"""A model as a document: the same after JSON, and another hash for any other value in it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.model import Model

MODEL = Model(
    strategy=Strategy.SWING,
    text="tree\nversion=v4\n",
    calibrator={"kind": "sigmoid", "rows": 200, "slope": 1.25, "intercept": -0.1},
    inputs=("lr_1", "tier"),
    null_rates={"lr_1": 0.0, "tier": 0.0},
    feature_schema_hash="a" * 16,
    params_hash="b" * 16,
    loose_hash="c" * 16,
    break_even={"large": 0.4},
    trained_from=datetime(2026, 1, 1, tzinfo=UTC),
    trained_until=datetime(2026, 5, 1, 0, 15, tzinfo=UTC),
    manifest={"rows": 700},
    metrics={"auc": np.float64(0.5), "months": [("2026-01", 1)]},
    importances={"gain": {"lr_1": 1.0}},
    versions={"lightgbm": "4.7.0"},
    seed=7,
    probes=np.array([[0.1, math.nan], [-0.0, 2.0]]),
    probe_answers=np.array([0.1 + 0.2, 0.5]),
)


def test_a_document_gives_the_same_model_and_the_same_id() -> None:
    document = json.loads(json.dumps(MODEL.to_document(), allow_nan=False))
    again = Model.from_document(document)
    assert again.to_document() == document
    assert (again.id, again.sha256[:16]) == (MODEL.id, MODEL.id)
    np.testing.assert_array_equal(again.probes, MODEL.probes)
    assert again.probe_answers.tobytes() == MODEL.probe_answers.tobytes()


@pytest.mark.parametrize(
    "changed",
    [
        {"text": "tree\nversion=v4"},
        {"break_even": {"large": 0.4000000000000001}},
        {"probe_answers": np.array([0.3, 0.5])},
        {"trained_until": datetime(2026, 5, 1, tzinfo=UTC)},
    ],
)
def test_any_other_value_gives_another_id(changed: dict[str, Any]) -> None:
    assert replace(MODEL, **changed).sha256 != MODEL.sha256


def test_a_document_that_cannot_be_read_says_why() -> None:
    document = MODEL.to_document()
    with pytest.raises(ValueError, match="format 2"):
        Model.from_document(document | {"format": 2})
    del document["probes"]
    with pytest.raises(ValueError, match="lacks probes"):
        Model.from_document(document)
