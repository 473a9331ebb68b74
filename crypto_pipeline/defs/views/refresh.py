"""One refresh of a view as Dagster shows it: by a run, or by the tick of a schedule without a run.

A run costs more processor time than the refresh of a view does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base.check_results import check_result, result_event
from crypto_pipeline.ops.host.disk_space import size_text
from crypto_pipeline.store import Store

#: An older view missed the turn of its schedule more than once.
TOO_OLD = {
    "ohlc_today": timedelta(minutes=20),
    "instrument_summary": timedelta(minutes=20),
    "ohlc_recent": timedelta(hours=3),
}


def refreshed(store: Store, name: str) -> dict[str, Any]:
    """Refresh a view; returns the metadata of its materialization. Raises StoreError."""
    done = store.views.refresh(name)
    state = store.views.state().filter(name=name).row(0, named=True)
    shown: dict[str, Any] = {
        "dagster/row_count": done.rows,
        "refreshed_at": dg.MetadataValue.timestamp(done.at),
        "age_seconds": round(state["age_seconds"], 3),
        "seconds": round(done.seconds, 3),
        "bytes": state["bytes"],
        "size": size_text(state["bytes"]),
        "method": done.method,
    }
    if done.because:
        shown["why_not_swapped"] = done.because
    return shown


def freshness_result(store: Store, name: str) -> dg.AssetCheckResult:
    """The check `is_fresh` of a view, evaluated now and recorded. Raises StoreError."""
    state = store.views.state().filter(name=name).row(0, named=True)
    age = timedelta(seconds=round(state["age_seconds"]))
    summary = f"{state['rows']:,} rows, refreshed {age} ago in {state['seconds']:.2f} s ({state['method']})"
    return view_result(store, name, "is_fresh", age <= TOO_OLD[name], summary, {})


def view_result(
    store: Store, name: str, check: str, passed: bool, summary: str, shown: dict[str, Any]
) -> dg.AssetCheckResult:
    """The result of one check of a view, also as row of `ops.check_results`. Raises StoreError."""
    severity = "warning" if check == "is_fresh" else "error"
    store.checks.record_result(f"{name}_{check}", None, passed=passed, severity=severity, summary=summary)
    return check_result(
        check, name, passed=passed, severity=severity, summary=summary, metadata={"summary": summary, **shown}
    )


def refresh_without_run(instance: dg.DagsterInstance, store: Store, name: str) -> None:
    """Refresh a view, and report its materialization and its check to Dagster. Raises StoreError."""
    instance.report_runless_asset_event(dg.AssetMaterialization(name, metadata=refreshed(store, name)))
    instance.report_runless_asset_event(result_event(freshness_result(store, name)))
