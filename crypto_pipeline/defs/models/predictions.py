"""The asset ``predictions``: setups that live predictions missed are predicted as they would have been.

Live predictions are made in the program that keeps features, seconds after each bar. What it could not do (it stood
still, or a bar came late) is made good here, by the same function.
"""

from datetime import timedelta
from typing import Any

import dagster as dg
import polars as pl

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import MEDIUM, asset_job, schedule, tags
from crypto_pipeline.defs.base.subjects import MODELS
from crypto_pipeline.defs.models import columns
from crypto_pipeline.labels.parameters import DEFAULT, parameter_sets
from crypto_pipeline.labels.strategies.registry import Strategy
from crypto_pipeline.models.judging.metrics import auc, brier_skill, calibration_error
from crypto_pipeline.models.stored.champions import Champions
from crypto_pipeline.models.stored.matured import matured_predictions
from crypto_pipeline.models.stored.predictions import predict_span
from crypto_pipeline.models.stored.registry import Registry
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store

PREDICTIONS = "predictions"
#: Setups that are this old are left without a prediction: nobody can act on them.
LOOK_BACK = timedelta(days=2)


@dg.asset(
    name=PREDICTIONS,
    **MODELS.arguments("research"),
    kinds={"lightgbm", "postgres"},
    deps=["ml_features"],
    description="What the models in use say of each setup of the default set, with all that it was decided from, one "
    "row per strategy, instrument and signal. Accuracy is shown from predictions whose label has ended.",
    metadata={"dagster/table_name": "research.predictions", "dagster/column_schema": columns.PREDICTIONS},
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=3), warn_window=timedelta(hours=2)),
)
def predictions(context: dg.AssetExecutionContext, database: MarketDatabase) -> dg.MaterializeResult[None]:
    """Predict setups of the last two days that have no prediction."""
    settings = load_settings()
    with database.store() as store:
        now = store.clock.now()
        champions = Champions()
        made = predict_span(store, settings, champions, now - LOOK_BACK, now, now=now)
        context.log.info(f"{len(made)} setups had no prediction yet")
        refused = sum(row.refused is not None for row in made)
        models: dict[str, Any] = dict(sorted(champions.ids(store).items()))
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": len(made),
                "span": metadata.span_text(now - LOOK_BACK, now),
                "refused": refused,
                "models": models or "none: rules alone",
                "matured": metadata.table(_matured(store, settings)),
            }
        )


def _matured(store: Store, settings: Settings) -> pl.DataFrame:
    """By strategy with a model in use: how its matured predictions have come out."""
    rows = []
    for name, model_id in sorted(store.models.champions().items()):
        strategy = Strategy(name)
        parameters = parameter_sets(settings.label_parameters)[DEFAULT][strategy]
        found = matured_predictions(store, strategy, parameters, model_id)
        model = Registry(store).named(strategy, "champion")
        rows.append({"strategy": name, "model": model_id, "matured": found.height} | _figures(found, model))
    return pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame({"strategy": [], "matured": []})


def _figures(found: pl.DataFrame, model: Any) -> dict[str, float | None]:
    if found.is_empty():
        return dict.fromkeys(("won", "probability", "auc", "brier_skill", "calibration_error"))
    y, p = found["y"].cast(pl.Float64).to_numpy(), found["probability"].to_numpy()
    base = pl.Series([float(model.metrics["base_rate"])] * found.height).to_numpy()
    figures = {
        "won": float(y.mean()),
        "probability": float(p.mean()),
        "auc": auc(y, p),
        "brier_skill": brier_skill(y, p, base),
        "calibration_error": calibration_error(y, p),
    }
    return {name: round(value, 4) if value == value else None for name, value in figures.items()}


predict_setups = asset_job(
    "predict_setups",
    [PREDICTIONS],
    tags(MEDIUM),
    "Predicts setups that have no prediction yet, and looks for others.",
)
schedules = [
    schedule(
        "predictions_hourly",
        predict_setups,
        "22 * * * *",
        "Every hour: predicts setups that live predictions missed, and checks that each has one.",
    )
]
