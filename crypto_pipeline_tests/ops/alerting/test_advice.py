"""Every alert names an action, and a paragraph that the runbook has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crypto_pipeline.ops.alerting.advice import advice_for, runbook_for
from crypto_pipeline.ops.checks.registry import definitions

RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"


@pytest.mark.parametrize(
    "source", [*definitions(), "run:make_backup", "failover:binance:replay", "asks:BTC-USDT", "stream:x", "anything"]
)
def test_an_alert_names_an_action_and_a_paragraph_of_the_runbook(source: str) -> None:
    assert advice_for(source)
    page, anchor = runbook_for(source).split("#")
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert page == "docs/runbook.md"
    assert anchor in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}
