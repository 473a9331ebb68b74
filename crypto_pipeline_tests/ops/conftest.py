"""One `up` for all files here that need a whole deployment: each start of one costs half a minute of a processor."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crypto_pipeline_tests.builders.deployment import Deployment

TOKEN = "open sesame"


@pytest.fixture(scope="package")
def up() -> Iterator[Deployment]:
    """Two instruments, one day, a token. `supervision/test_up` has it first, `test_runbook` ends it."""
    deployment = Deployment(api_token=TOKEN)
    try:
        yield deployment.start()
    finally:
        deployment.stop()
