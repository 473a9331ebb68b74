"""Answers of other packages for the forecasts of a few series, as JSON on stdout; run by another Python.

    python forecast_oracles.py numbers.json

The file has ``series`` (log prices), ``seen`` (n), ``quantiles`` (n × 5) and ``scores`` (sorted absolute errors).
Prints what statsforecast, scoringrules and MAPIE say of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps({"ets": smoothed(given), "pinball": losses(given), "mapie": coverage(given)}))


def smoothed(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Of every series what AutoETS forecasts, its fitted values, and its parameters."""
    from statsforecast.models import AutoETS

    found = []
    for row in given["series"]:
        model = AutoETS(season_length=1, model="AZN").fit(np.array(row))
        path, fitted = model.predict(24)["mean"], model.model_["fitted"]
        found.append({"path": np.asarray(path).tolist(), "fitted": np.asarray(fitted).tolist()})
    return found


def losses(given: dict[str, Any]) -> list[float]:
    import scoringrules

    seen, quantiles = np.array(given["seen"]), np.array(given["quantiles"])
    each = [scoringrules.quantile_score(seen, quantiles[:, place], level) for place, level in enumerate(LEVELS)]
    return np.mean(each, axis=0).tolist()


def coverage(given: dict[str, Any]) -> dict[str, Any]:
    """Share of what was seen that the 80 % interval held, and conformal quantiles of the absolute errors."""
    from mapie.metrics.regression import regression_coverage_score

    quantiles = np.array(given["quantiles"])
    intervals = np.stack([quantiles[:, 1], quantiles[:, 3]], axis=1)[:, :, None]
    share = regression_coverage_score(np.array(given["seen"]), intervals)
    return {"share": float(np.ravel(share)[0]), "widths": _split_conformal(np.array(given["scores"]))}


def _split_conformal(errors: np.ndarray) -> list[float]:
    """Half width of the 80 % interval of a predictor that always says 0, calibrated on these errors."""
    from mapie.regression import SplitConformalRegressor
    from sklearn.dummy import DummyRegressor

    nothing = np.zeros((len(errors), 1))
    constant = DummyRegressor(strategy="constant", constant=0.0).fit(nothing, np.zeros(len(errors)))
    model = SplitConformalRegressor(constant, confidence_level=0.8, prefit=True)
    model.conformalize(nothing, errors)
    _, interval = model.predict_interval(np.zeros((1, 1)))
    return [float(each) for each in np.ravel(interval)]


if __name__ == "__main__":
    main()
