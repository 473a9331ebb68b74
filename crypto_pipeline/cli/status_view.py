"""``status`` for people."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from crypto_pipeline.cli.output import console, table


def print_status(found: dict[str, Any]) -> None:
    """Print what ``gather`` found."""
    out = console()
    if found["running"]:
        out.print(
            f"{found['phase']} on {found['data_dir']} (process {found['pid']}), venue {found['venue']}", markup=False
        )
        for name, url in found["urls"].items():
            out.print(f"  {name:<8} {url}", markup=False)
        table("", ["process", "state", "pid", "up", "healthy"], [_process(row) for row in found["processes"]])
    else:
        out.print(f"nothing runs on {found['data_dir']}: start it with `crypto-pipeline up`", markup=False)
    database = found["database"]
    if not database["reachable"]:
        out.print(f"database: {database['trouble']}", markup=False)
        return
    size = database["size_bytes"] / 1e6
    out.print(f"\ndatabase {database['address']}, {size:,.0f} MB, schema {database['schema_version']}", markup=False)
    columns = ["rows", "expected", "explained", "missing", "newest"]
    rows = [[name, *(row[column] for column in columns)] for name, row in found["timeframes"].items()]
    table("", ["timeframe", *columns], rows)
    gaps = ", ".join(f"{count:,} {state}" for state, count in found["gaps"].items()) or "none"
    out.print(f"gaps: {gaps}", markup=False)
    checks = found["checks"]
    out.print(f"checks: {checks['passed']} of {checks['wanted']} pass", markup=False)
    # The reason comes last: that is what stays in sight.
    out.print(f"complete: {'yes' if found['complete'] else 'no'}", markup=False)
    for reason in found["incomplete_because"]:
        out.print(f"  {reason}", markup=False)


def _process(row: dict[str, Any]) -> list[Any]:
    up = str(timedelta(seconds=int(row["uptime_seconds"]))) if row["uptime_seconds"] is not None else "–"
    healthy = "yes" if row["healthy"] else f"no: {row['trouble']}"
    return [row["name"], row["state"], str(row["pid"] or "–"), up, healthy]
