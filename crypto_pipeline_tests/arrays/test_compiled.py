"""Compiled functions: what is kept on disk by one version never stops another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

MODULE = """
from typing import NamedTuple
import numpy as np
from crypto_pipeline.arrays.compiled import compiled

class Bars(NamedTuple):
    close: np.ndarray

@compiled
def total(bars):
    return bars.close.sum()

if __name__ == "__main__":
    import kept
    print(kept.total(kept.Bars(np.ones(3))), len(kept.total.stats.cache_hits))
"""


def run(folder: Path) -> list[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, folder / "kept.py"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_what_a_version_before_kept_is_compiled_anew(tmp_path: Path) -> None:
    module = tmp_path / "kept.py"
    module.write_text(MODULE)
    assert run(tmp_path) == ["3.0", "0"]
    assert run(tmp_path) == ["3.0", "1"]  # loaded
    # The type is called otherwise now; what is kept names it by its former name.
    module.write_text(MODULE.replace("Bars", "Path"))
    assert run(tmp_path) == ["3.0", "0"]
    assert run(tmp_path) == ["3.0", "1"]
