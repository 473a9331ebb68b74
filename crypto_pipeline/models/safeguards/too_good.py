"""Too good to be true: results that markets do not give and mistakes do. Each blocks the model and alerts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crypto_pipeline.models.safeguards.finding import ModelFinding

MOST_AUC, MOST_ACCURACY, MOST_IMPORTANCE = 0.85, 0.95, 0.60
#: With fewer rows an AUC or an accuracy says nothing.
LEAST_ROWS = 50


def too_good(metrics: Mapping[str, Mapping[str, Any]], gain_shares: Mapping[str, float]) -> list[ModelFinding]:
    """Findings about ``metrics`` (``metrics.summary`` by the name of its rows) and shares of gain by input."""
    found = []
    for rows, summary in metrics.items():
        for name, most in (("auc", MOST_AUC), ("accuracy", MOST_ACCURACY)):
            value = summary.get(name)
            if value is not None and value > most and summary["rows"] >= LEAST_ROWS:
                message = f"{name} of the {rows} rows is {value:.3f}, above {most}: too good to be true"
                found.append(ModelFinding("too_good_to_be_true", name, value, most, message))
    for name, share in gain_shares.items():
        if share > MOST_IMPORTANCE:
            message = f"{name} alone has {share:.0%} of the importance, above {MOST_IMPORTANCE:.0%}"
            found.append(ModelFinding("too_good_to_be_true", name, share, MOST_IMPORTANCE, message))
    return found
