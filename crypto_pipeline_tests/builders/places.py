"""Where tests find things outside the package: the project's files and the recorded exchange data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

#: The folder with pyproject.toml.
PROJECT = Path(__file__).resolve().parents[2]


def recorded_folder() -> Path:
    """Return the folder of recorded exchange data, which has ``bars/``; skip the test where there is none."""
    folder = Path(os.environ.get("CRYPTO_PIPELINE_TEST_DATA") or PROJECT.parent / "shared" / "data")
    if not (folder / "bars").is_dir():
        pytest.skip(f"no recorded exchange data in {folder}: set CRYPTO_PIPELINE_TEST_DATA to the folder with bars/")
    return folder
