"""A hundred SIGKILLs of training and promotion: the long form of ``crypto_pipeline_tests/faults/test_model_kills.py``.

python bench/model_kills.py [KILLS]
"""

from __future__ import annotations

import os
import sys

import pytest

if __name__ == "__main__":
    os.environ["CRYPTO_PIPELINE_TEST_KILLS"] = sys.argv[1] if len(sys.argv) > 1 else "100"
    sys.exit(
        pytest.main(
            ["-q", "-s", "-p", "no:xdist", "--timeout=7200", "crypto_pipeline_tests/faults/test_model_kills.py"]
        )
    )
