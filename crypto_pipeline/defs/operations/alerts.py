"""The asset of open alerts: its page shows what is open. The notifier sends alerts; nothing here does."""

import hashlib
import json

import dagster as dg

from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import sensor
from crypto_pipeline.defs.base.subjects import OPERATIONS
from crypto_pipeline.ops.alerting.advice import advice_for, runbook_for
from crypto_pipeline.store.operations.notifications.alerts import AlertRecord, AlertRecords

_COLUMNS = ("id", "severity", "source", "timeframe", "opened", "summary", "what to do", "runbook", "acknowledged by")

_OPERATIONS = OPERATIONS.arguments()

alerts = dg.AssetSpec(
    "alerts",
    description="Open alerts, with the first action and the paragraph of the runbook. A new state appears here when an "
    "alert opens, closes, becomes more or less grave, or is acknowledged. `crypto-pipeline alerts` shows the same.",
    group_name=_OPERATIONS["group_name"],
    owners=_OPERATIONS["owners"],
    tags=_OPERATIONS["tags"],
    kinds={"postgres"},
)


@sensor(
    name="open_alerts",
    minimum_interval_seconds=60,
    description="Every minute: shows on the page of `alerts` what is open, when that has changed.",
)
def open_alerts(context: dg.SensorEvaluationContext, database: MarketDatabase) -> dg.SensorResult:
    """Report a materialization only when the set of open alerts is another one."""
    with database.store() as store:
        records = AlertRecords(store.connections).open_records()
    cursor = _fingerprint(records)
    if cursor == context.cursor:
        return dg.SensorResult(skip_reason=f"{len(records)} alerts are open, as before", cursor=cursor)
    return dg.SensorResult(asset_events=[_shown(records)], cursor=cursor)


def _fingerprint(records: list[AlertRecord]) -> str:
    """The same as long as the same alerts are open; their counts and texts may change."""
    state = [(one.id, one.severity, one.acknowledged_by) for one in sorted(records, key=lambda one: one.id)]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]


def _shown(records: list[AlertRecord]) -> dg.AssetMaterialization:
    rows = [
        dg.TableRecord(
            dict(
                zip(
                    _COLUMNS,
                    (
                        one.id, one.severity, one.source, one.timeframe, f"{one.opened_at:%Y-%m-%d %H:%M}", one.summary,
                        advice_for(one.source), runbook_for(one.source), one.acknowledged_by or "",
                    ),
                    strict=True,
                )
            )
        )
        for one in records[:200]
    ]  # fmt: skip
    grave = sum(one.severity in ("critical", "error") for one in records)
    schema = dg.TableSchema([dg.TableColumn(name, "int" if name == "id" else "string") for name in _COLUMNS])
    return dg.AssetMaterialization(
        "alerts",
        metadata={
            "open": len(records),
            "critical_or_error": grave,
            "alerts": dg.MetadataValue.table(records=rows, schema=schema),
        },
    )
