"""Results of checks, and the alerts that open and close with them.

Guards I12 (docs/invariants.md).
"""

import json
import math
from datetime import UTC, datetime

import pytest

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store.database.errors import StoreError
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.operations.check_results import Checks


@pytest.fixture
def checks(connections: Connections) -> Checks:
    return Checks(connections)


def test_failure_opens_one_alert_refreshes_it_and_a_pass_resolves_it(checks: Checks) -> None:
    checks.record_result(
        "accounted_for", Timeframe.M1, False, "error", "3 minutes missing", {"offenders": ["BTC-USDT"]}
    )
    checks.record_result(
        "accounted_for", Timeframe.M1, False, "error", "2 minutes missing", {"offenders": ["BTC-USDT"]}
    )
    checks.record_result("accounted_for", Timeframe.H1, True, "error", "all there")
    alerts = checks.open_alerts().to_dicts()
    assert [(a["source"], a["timeframe"], a["summary"], a["times_seen"]) for a in alerts] == [
        ("accounted_for", "1m", "2 minutes missing", 2)
    ]
    assert json.loads(alerts[0]["detail"]) == {"offenders": ["BTC-USDT"]}
    checks.record_result("accounted_for", Timeframe.M1, True, "error", "all there")
    assert checks.open_alerts().is_empty()
    assert checks.results()["passed"].to_list() == [True, True]
    checks.record_result("accounted_for", Timeframe.M1, False, "error", "again")
    assert checks.open_alerts()["times_seen"].to_list() == [1]  # a new alert, the old one is history


def test_since_moves_only_when_the_verdict_changes(checks: Checks) -> None:
    def since() -> datetime:
        return checks.results()["since"][0]  # type: ignore[no-any-return]

    checks.record_result("freshness", None, True)
    first = since()
    checks.record_result("freshness", None, True)
    assert since() == first
    checks.record_result("freshness", None, False)
    assert since() > first


def test_gravest_alert_comes_first(checks: Checks) -> None:
    checks.raise_alert("run:backfill", "warning", "slow")
    checks.raise_alert("disk", "critical", "full")
    assert checks.open_alerts()["source"].to_list() == ["disk", "run:backfill"]
    assert checks.resolve_alert("disk")
    assert not checks.resolve_alert("disk")


def test_detail_may_hold_what_json_cannot(checks: Checks) -> None:
    odd = {"nan": math.nan, "when": datetime(2026, 1, 1, tzinfo=UTC), "rows": [{"zero": "a\x00b", "inf": math.inf}]}
    checks.record_result("ohlc_sanity", "5m", False, "error", "odd\x00", odd)
    detail = json.loads(checks.results()["detail"][0])
    assert detail == {"nan": "nan", "when": "2026-01-01 00:00:00+00:00", "rows": [{"zero": "ab", "inf": "inf"}]}


def test_unknown_severity_is_refused(checks: Checks) -> None:
    with pytest.raises(StoreError, match="severity 'bad'"):
        checks.record_result("x", None, False, "bad")
