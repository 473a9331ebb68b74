"""A model as a folder that needs nothing of this package: it loads with LightGBM alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crypto_pipeline.models.inputs import TIER_NUMBERS
from crypto_pipeline.models.model import Model
from crypto_pipeline.models.predictor import NEARLY_NEVER

_README = """Model {id} of the strategy {strategy}. It loads with LightGBM alone:

    import json, lightgbm
    names = json.load(open("inputs.json"))["names"]
    raw = lightgbm.Booster(model_file="model.txt").predict([[row[name] for name in names]], raw_score=True)

raw is in log-odds; a null of a row is float("nan"), its tier a number of inputs.json. calibrator.json makes it a
probability: sigmoid is 1 / (1 + exp(-(slope * raw + intercept))), isotonic straight lines through the points (x, y);
both within [1 / (rows + 2), 1 - 1 / (rows + 2)].
"""


def export(model: Model, folder: Path) -> list[Path]:
    """Write ``model.txt``, ``calibrator.json``, ``inputs.json``, ``manifest.json`` and ``README`` into ``folder``.

    The folder is made; raises FileExistsError where it has files. Returns what was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name another folder")
    plain = model.to_document()
    inputs = {
        "names": list(model.inputs),
        "tiers": TIER_NUMBERS,
        "null_rates": plain["null_rates"],
        "null_is_refused_below": NEARLY_NEVER,
        "break_even": plain["break_even"],
        "feature_schema_hash": model.feature_schema_hash,
        "probes": plain["probes"],
        "probe_answers": plain["probe_answers"],
    }
    rest = {
        name: plain[name]
        for name in ("manifest", "metrics", "importances", "versions", "seed", "trained_from", "trained_until")
    }
    texts = {
        "model.txt": model.text,
        "calibrator.json": _json(plain["calibrator"]),
        "inputs.json": _json(inputs),
        "manifest.json": _json({"id": model.id, "sha256": model.sha256, **rest}),
        "README": _README.format(id=model.id, strategy=model.strategy),
    }
    written = []
    for name, text in texts.items():
        (path := folder / name).write_text(text)
        written.append(path)
    return written


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
