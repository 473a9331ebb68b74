"""Facts about the models in use that the operational checks judge: their age, and what they answered of late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

# Predictions of the last day by the market's clock. A reason that is not of a row is of the model: no row would do.
_MODELS = """
SELECT a.strategy, a.model_id, extract(epoch FROM market.now() - m.trained_until)::float8,
       p.predictions, p.late, p.refused, p.refused_all, p.said
FROM research.model_aliases a
JOIN research.models m USING (model_id)
CROSS JOIN LATERAL (
    SELECT count(*) AS predictions, count(*) FILTER (WHERE NOT live) AS late,
           count(*) FILTER (WHERE refused IS NOT NULL) AS refused,
           count(*) FILTER (WHERE refused = ANY(%(of_model)s)) AS refused_all,
           (array_agg(refusal ORDER BY signal_ts DESC) FILTER (WHERE refusal IS NOT NULL))[1] AS said
    FROM research.predictions
    WHERE strategy = a.strategy AND model_id = a.model_id AND signal_ts >= market.now() - interval '1 day'
) AS p
WHERE a.alias = 'champion' ORDER BY a.strategy LIMIT 50
"""
#: Refusals of a model that no other row would change (models/refusal.py; a test compares).
OF_MODEL = ["too_old", "probes_differ", "damaged", "other_features"]


@dataclass(frozen=True, slots=True)
class ModelInUse:
    """The champion of one strategy, and its predictions of the last day.

    ``age``: seconds since the end of what it learned from. ``late``: predictions that were not made right after their
    bar. ``refused``: those it refused; ``refused_all``: those for a reason of the model itself; ``said``: why, the
    newest time.
    """

    strategy: str
    model_id: str
    age: float
    predictions: int
    late: int
    refused: int
    refused_all: int
    said: str | None


def read_models(connection: psycopg.Connection[Any]) -> tuple[ModelInUse, ...]:
    """The models in use. ``connection`` is in autocommit. Raises psycopg.Error."""
    return tuple(ModelInUse(*row) for row in connection.execute(_MODELS, {"of_model": OF_MODEL}))
