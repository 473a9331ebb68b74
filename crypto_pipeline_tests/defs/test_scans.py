"""The asset ``scan_history``: makes good what was not scanned live, shows it, and says what is missing."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from crypto_pipeline.definitions import defs
from crypto_pipeline.store import Store
from crypto_pipeline.trading.stored.scans import scan_pass
from crypto_pipeline.trading.stored.scans.checks import COMPLETE, FOUND, check_scans
from crypto_pipeline_tests.builders.label_market import TIERS
from crypto_pipeline_tests.trading.scanning.market import END, QUARTER, SETTINGS, store_scanned_market


def run(instance: dg.DagsterInstance) -> tuple[dict[str, Any], dict[str, tuple[bool, str | None]]]:
    """Metadata of the asset, and its checks."""
    done = defs().resolve_job_def("scan_bars").execute_in_process(instance=instance, raise_on_error=False)
    (made,) = done.get_asset_materialization_events()
    checks = {one.check_name: (one.passed, one.description) for one in done.get_asset_check_evaluations()}
    return dict(made.materialization.metadata), checks


def test_what_was_missed_is_scanned_and_shown(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", postgres_url)
    monkeypatch.setenv("CRYPTO_PIPELINE_LABEL_PARAMETERS", json.dumps(SETTINGS.label_parameters))
    with Store(postgres_url) as store, dg.DagsterInstance.ephemeral() as instance:
        metadata, checks = run(instance)
        assert metadata["dagster/row_count"].value == 0
        assert checks[COMPLETE] == (True, "scanning begins when what is collected is complete")
        store_scanned_market(store)
        scan_pass(store, SETTINGS, END - 20 * QUARTER)
        metadata, checks = run(instance)
        assert metadata["made_now"].value == 20 * 3 * len(TIERS)
        assert metadata["scans"].value.startswith("![Setups and near misses by day")
        assert metadata["newest_setups"].value.count("UTC") == 3
        assert checks[COMPLETE][0]
        assert checks[FOUND][0]
        # one strategy's rows of one bar are lost
        store.connections.run(
            lambda connection: (
                connection.execute(
                    "DELETE FROM trading.scan_history WHERE strategy = 'swing' AND signal_ts = %s", [END - 3 * QUARTER]
                ).rowcount
            )
        )
        complete, found = check_scans(store, END)
        assert not complete.passed
        assert complete.offenders.rows() == [(END - 3 * QUARTER, "swing", 0, None, None)]
        assert "first swing at 2025-06-10 23:15 UTC" in complete.summary
        assert found.passed

        _silent_after_days_with_setups(store)
        _, found = check_scans(store, END)
        assert not found.passed
        assert found.summary.startswith("dca has found nothing for 4.8 days, by the 38 days before")
        assert "most often in the way: " in found.summary


def _silent_after_days_with_setups(store: Store) -> None:
    """DCA found something on each of the 38 days before the first scan, and nothing since."""
    of_days = """
    INSERT INTO trading.scan_days SELECT day - n, instrument_id, condition_set, scans, 1, 0, 0, strategy, failures, near
    FROM trading.scan_days CROSS JOIN generate_series(4, 41) n WHERE day = %s
    """
    store.connections.run(lambda connection: connection.execute(of_days, [END.date() - timedelta(days=2)]).rowcount)
    nothing = "UPDATE trading.scan_history SET decision = 'SKIP' WHERE strategy = 'dca' AND decision = 'TAKE'"
    store.connections.run(lambda connection: connection.execute(nothing).rowcount)
