"""Checks of trading, several times a minute. What runs check is in ``stored_data``."""

from __future__ import annotations

from crypto_pipeline.ops.checks.definition import CheckDefinition
from crypto_pipeline.ops.checks.observation import Observation
from crypto_pipeline.ops.checks.states import CheckFinding, bad, ok

#: Two bars without a scan, and the time that a late bar is waited for.
_LATE = 2 * 900.0


def _scans(seen: Observation) -> CheckFinding:
    ages, allowed = seen.known.scans, _LATE + seen.settings.scan_deadline_seconds * seen.settings.clock_rate
    if not ages:
        if not seen.known.features:
            return ok("scanning begins when what is collected is complete", 0.0)
        return bad("no strategy has scanned anything, although instruments have been collected for hours")
    oldest = max(ages.values())
    late = [name for name, age in ages.items() if age > allowed]
    if not late:
        return ok(f"{len(ages)} strategies, the oldest newest scan {oldest / 60:.0f} min after its bar", oldest / 60)
    offenders = tuple({"strategy": name, "minutes": round(ages[name] / 60)} for name in late)
    words = f"{', '.join(late)} scanned nothing for two bars, last {oldest / 60:.0f} min ago"
    return bad(words, oldest / 60, offenders=offenders)


CHECKS = (
    CheckDefinition(
        "scans_current", "strategies", "Every strategy scans every bar as it closes.", "error",
        f"≤ {_LATE / 60:g} min + the setting scan_deadline_seconds", "min",
        requires=("database", "database_writable", "ingest", "features_age"), evaluate=_scans,
    ),
)  # fmt: skip
