"""Answers of other packages about forecasts: one JSON document on stdin, another on stdout; run by `foreign.ask`.

In: ``series`` (log prices), ``seen`` (n), ``quantiles`` (n × 5), ``scores`` (absolute errors). Out: what statsforecast,
scoringrules and MAPIE say of them.

    uv venv oracle && uv pip install --python oracle/bin/python statsforecast scoringrules mapie
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)


def main() -> None:
    given = json.load(sys.stdin)
    print(json.dumps({"ets": smoothed(given), "pinball": losses(given), "mapie": coverage(given)}))


def smoothed(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Of every series what AutoETS forecasts, its fitted values, and its parameters."""
    from statsforecast.models import AutoETS

    found = []
    for row in given["series"]:
        model = AutoETS(season_length=1, model="AZN").fit(np.array(row))
        path, of = model.predict(24)["mean"], model.model_
        par = [None if np.isnan(each) else float(each) for each in of["par"]]
        found.append(
            {
                "path": np.asarray(path).tolist(), "fitted": np.asarray(of["fitted"]).tolist(), "par": par,
                "components": str(of["components"]),
            }
        )  # fmt: skip
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
