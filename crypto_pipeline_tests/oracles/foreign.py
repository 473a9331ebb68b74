"""Programs of other people as references, each in an environment of its own that the product never depends on.

    uv venv oracle && uv pip install --python oracle/bin/python scikit-learn purgedcv
    CRYPTO_PIPELINE_ORACLE_MODELS=oracle/bin/python pytest crypto_pipeline_tests/models

The variable names the interpreter of that environment. Without it the tests that need it are skipped, and say so. The
program that runs there reads one JSON document and writes another; it imports nothing of this project.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest


def ask(variable: str, program: str, question: Any) -> Any:
    """The answer of ``program`` (beside this module) in the environment whose interpreter ``variable`` names.

    Skips the test where the variable is not set.
    """
    interpreter = os.environ.get(variable)
    if not interpreter:
        pytest.skip(
            f"{variable} is not set: see crypto_pipeline_tests/oracles/foreign.py for how to make what it names"
        )
    script = Path(__file__).with_name(program)
    said = subprocess.run(
        [interpreter, str(script)], input=json.dumps(question), capture_output=True, text=True, timeout=120
    )
    assert said.returncode == 0, said.stderr[-2000:]
    return json.loads(said.stdout)
