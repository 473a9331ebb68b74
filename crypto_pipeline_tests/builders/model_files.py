"""What a model says of its own probe rows, from its document, in a process that may have loaded nothing else."""

from __future__ import annotations

import json
import math

from crypto_pipeline.models.inputs import TIER_NUMBERS
from crypto_pipeline.models.model import Model
from crypto_pipeline.models.predictor import Predictor


def predicted(document: str) -> list[float]:
    """Probabilities of the probe rows, each given by the names of its inputs."""
    model = Model.from_document(json.loads(document))
    predictor, tiers = Predictor(model), list(TIER_NUMBERS)
    found = []
    for values in model.probes.tolist():
        row = {name: None if math.isnan(value) else value for name, value in zip(model.inputs, values, strict=True)}
        found.append(predictor.predict(row | {"tier": tiers[int(row["tier"] or 0)]}).probability)
    return found
