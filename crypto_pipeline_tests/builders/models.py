"""Small trained models of invented rows, with everything that a real one has; and rows of inputs for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from crypto_pipeline.features.compute import schema_hash
from crypto_pipeline.labels.parameters import DEFAULT, LOOSE, parameter_sets
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.calibration import Calibrator
from crypto_pipeline.models.inputs import TIER_NUMBERS, input_matrix, input_names
from crypto_pipeline.models.model import Model

#: The end of the data that the models learned from, unless a test says otherwise.
UNTIL = datetime(2025, 5, 1, tzinfo=UTC)
TIERS = tuple(TIER_NUMBERS)
#: Inputs that were null in a tenth of the rows; all others never were.
OFTEN_NULL = ("lr_672", "btc_correlation_672", "regime")


def rows(strategy: Strategy, count: int, seed: int = 0) -> pl.DataFrame:
    """Rows of inputs, of which OFTEN_NULL are sometimes null."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for name in input_names(strategy):
        values = rng.normal(size=count)
        if name == "tier":
            columns[name] = rng.choice(TIERS, count)
        elif name in ("regime", "stress"):
            columns[name] = pl.Series(rng.integers(-2, 2, count), dtype=pl.Int8)
        else:
            columns[name] = pl.Series(values)
        if name in OFTEN_NULL:
            columns[name] = pl.Series(columns[name]).set(pl.Series(rng.random(count) < 0.1), None)
    return pl.DataFrame(columns)


@cache
def model(strategy: Strategy = Strategy.SWING, *, seed: int = 0, until: datetime = UNTIL, trees: int = 20) -> Model:
    """A model whose answers depend on several inputs. Another seed gives another one."""
    import lightgbm as lgb

    names = input_names(strategy)
    learned = rows(strategy, 800, seed)
    matrix = input_matrix(learned, names)
    rng = np.random.default_rng(seed + 1)
    score = np.nan_to_num(matrix[:, 0]) + np.nan_to_num(matrix[:, names.index("lr_672")])
    y = (score + rng.normal(size=len(matrix)) > 0).astype(np.float64)
    options = {
        "objective": "binary", "num_leaves": 7, "min_data_in_leaf": 20, "seed": seed, "deterministic": True,
        "force_row_wise": True, "num_threads": 1, "verbosity": -1,
    }  # fmt: skip
    booster = lgb.train(options, lgb.Dataset(matrix, y, feature_name=list(names)), trees)
    calibrator = Calibrator("sigmoid", 200, slope=0.8, intercept=-0.05)
    sets = parameter_sets({})
    probes = matrix[:64]
    return Model(
        strategy=strategy,
        text=booster.model_to_string(),
        calibrator=calibrator.to_document(),
        inputs=names,
        null_rates={name: float(np.isnan(matrix[:, place]).mean()) for place, name in enumerate(names)},
        feature_schema_hash=schema_hash(),
        params_hash=sets[DEFAULT][strategy].hash,
        loose_hash=sets[LOOSE][strategy].hash,
        break_even=dict.fromkeys(TIERS, 0.45),
        trained_from=until - timedelta(days=100),
        trained_until=until,
        manifest={"rows": 800, "settings": {"margin": 0.03}},
        metrics={"base_rate": 0.5},
        importances={"gain": {}},
        versions={"lightgbm": lgb.__version__},
        seed=seed,
        probes=probes,
        probe_answers=calibrator.apply(np.asarray(booster.predict(probes, raw_score=True))),
    )
