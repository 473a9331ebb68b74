"""Check results as Dagster shows them, and the span that a run's checks look at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import dagster as dg

from crypto_pipeline.defs.base.partitions import partitions, run_partitions
from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store

#: Severities of results that are worth knowing and no error.
_WARNINGS = ("info", "warning")


def dagster_severity(severity: str) -> dg.AssetCheckSeverity:
    """Dagster's severity of a result: ``error`` and ``critical`` are errors, ``info`` and ``warning`` are warnings."""
    return dg.AssetCheckSeverity.WARN if severity in _WARNINGS else dg.AssetCheckSeverity.ERROR


def check_result(
    name: str,
    asset: str | dg.AssetKey,
    *,
    passed: bool,
    severity: str,
    summary: str,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetCheckResult:
    """The result of the check ``name`` of ``asset``. ``severity`` is info, warning, error or critical."""
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=asset,
        passed=passed,
        severity=dagster_severity(severity),
        description=summary,
        metadata=dict(metadata or {}),
    )


def outcome_result(
    outcome: CheckOutcome, asset: str | dg.AssetKey, metadata: Mapping[str, Any] | None = None
) -> dg.AssetCheckResult:
    """The result of a check of ``asset`` that has an outcome."""
    passed, severity, summary = outcome.passed, outcome.severity, outcome.summary
    return check_result(outcome.name, asset, passed=passed, severity=severity, summary=summary, metadata=metadata)


def outcome_event(
    outcome: CheckOutcome, asset: dg.AssetKey, metadata: Mapping[str, Any] | None = None
) -> dg.AssetCheckEvaluation:
    """The same as an event that no step of a run reports."""
    return result_event(outcome_result(outcome, asset, metadata))


def result_event(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """A result with name and asset as an event that no step of a run reports."""
    assert result.check_name is not None
    assert result.asset_key is not None
    return dg.AssetCheckEvaluation(
        check_name=result.check_name,
        asset_key=result.asset_key,
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )


def record_outcome(
    store: Store, outcome: CheckOutcome, check: str, timeframe: Timeframe | str | None, detail: Mapping[str, Any]
) -> None:
    """Keep an outcome as the newest result of ``check``: a failure opens its alert, a pass closes it.

    Raises StoreError.
    """
    store.checks.record_result(
        check,
        timeframe,
        passed=outcome.passed,
        severity=outcome.severity,
        summary=outcome.summary,
        detail=detail,
    )


def checked_span(context: dg.AssetCheckExecutionContext, store: Store) -> tuple[datetime, datetime]:
    """The partitions of the run, or all of history up to the market's now when the checks are run by themselves.

    ``[start, end)``, UTC.
    """
    keys = run_partitions(context.run.tags)
    if keys is None:
        return partitions().first_day, store.clock.now()
    weekly = any(key.path[-1].endswith("ohlc_1w") for key in context.run.asset_selection or ())
    definition = partitions().of(Timeframe.W1 if weekly else Timeframe.D1)
    windows = [definition.time_window_for_partition_key(key) for key in keys]
    return windows[0].start, windows[-1].end
