"""Output of ``status`` for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from crypto_pipeline.cli.output import console, table
from crypto_pipeline.settings import command

if TYPE_CHECKING:
    from rich.console import Console

#: A difference of a few seconds between the venue's clock and ours is normal; a larger one is printed.
_APART = timedelta(minutes=1)


def print_status(found: dict[str, Any]) -> None:
    """Print the result of ``ops.status.gather``."""
    out = console()
    if found["running"]:
        out.print(
            f"{found['phase']} on {found['data_dir']} (process {found['pid']}), venue {found['venue']}", markup=False
        )
        for name, url in found["urls"].items():
            out.print(f"  {name:<8} {url}", markup=False)
        table("", ["process", "state", "pid", "up", "healthy"], [_process(row) for row in found["processes"]])
        for note in found["notes"]:
            out.print(note, markup=False)
        for trouble in (found["venue_trouble"], found["queue_trouble"]):
            if trouble is not None:
                out.print(f"not healthy: {trouble}", markup=False)
    else:
        start = command("up", "--data-dir", found["data_dir"])
        out.print(f"nothing runs on {found['data_dir']}: start it with `{start}`", markup=False)
    database = found["database"]
    if not database["reachable"]:
        out.print(f"database: {database['trouble']}", markup=False)
        return
    _print_database(database, out)
    stated, ours = database["market_time"], datetime.now(UTC)
    if stated is not None and abs((market := datetime.fromisoformat(stated)) - ours) > _APART:
        out.print(f"time: {market:%Y-%m-%d %H:%M} UTC at the venue, {ours:%Y-%m-%d %H:%M} UTC on this machine")
    if len(found["venues"]) > 1:
        for name, venue in found["venues"].items():
            _print_bars(name, venue, name, out)
    else:
        _print_bars("", found, found["venue"], out)
    gaps = ", ".join(f"{count:,} {state}" for state, count in found["gaps"].items()) or "none"
    out.print(f"gaps: {gaps}", markup=False)
    _print_checks(found, out)


def _print_database(database: dict[str, Any], out: Console) -> None:
    """The database, its mirror and its replica."""
    size = database["size_bytes"] / 1e6
    out.print(f"\ndatabase {database['address']}, {size:,.0f} MB, schema {database['schema_version']}", markup=False)
    mirror = database["mirror"]
    if mirror is not None and (mirror["files"] or not mirror["in_use"]):
        until = f", 1m bars until {mirror['until']}" if mirror["until"] else ""
        unused = "" if mirror["in_use"] else ", turned off: no read uses it"
        out.print(f"mirror {mirror['files']:,} files, {mirror['bytes'] / 1e6:,.0f} MB{until}{unused}", markup=False)
    if (replica := database["replica"]) is not None:
        lag = "an unknown time" if replica["lag_seconds"] is None else f"{replica['lag_seconds']:.1f} s"
        out.print(f"replica {replica['address']}, {replica['trouble'] or f'{lag} behind'}", markup=False)


def _print_checks(found: dict[str, Any], out: Console) -> None:
    """How many checks pass, which operational ones fail, and why the database is not complete."""
    checks = found["checks"]
    more = " (`crypto-pipeline check` lists those that are unknown)" if checks["every"].get("unknown") else ""
    out.print(f"checks: {checks['said']}{more}", markup=False)
    for row in checks["operational"]:
        out.print(f"  check {row['check']} fails: {row['summary']}", markup=False)
    # The reasons come last, so that they stay visible in the terminal.
    out.print(f"complete: {'yes' if found['complete'] else 'no'}", markup=False)
    for reason in found["incomplete_because"]:
        out.print(f"  {reason}", markup=False)


def _print_bars(title: str, found: dict[str, Any], venue: str, out: Console) -> None:
    """The bars of one venue by timeframe, and how far they were compared with its own."""
    columns = ["rows", "expected", "explained", "missing", "newest"]
    rows = [[name, *(row[column] for column in columns)] for name, row in found["timeframes"].items()]
    compared = {name: _compared(row) for name, row in found["agreement"].items()}
    table(title, ["timeframe", *columns, "compared"], [[*row, compared.get(row[0], "–")] for row in rows])
    _print_agreement(found, venue, out)


def _compared(row: dict[str, Any]) -> str:
    """The compared share of stored bars of closed days; in brackets the timeframe whose comparison stands for it."""
    share = f"{int(row['share'] * 1000) / 10:g} %" if row["stored"] else "–"
    return share if row["never"] is None else f"({row['through'] or 'never'}: {share})"


def _print_agreement(found: dict[str, Any], venue: str, out: Console) -> None:
    rows = [row for row in found["agreement"].values() if row["never"] is None and row["newest"] is not None]
    if not rows:
        out.print(f"compared with {venue}'s own bars: nothing yet", markup=False)
        return
    last, oldest = max(row["newest"] for row in rows), min(row["oldest"] for row in rows)
    unsettled = sum(row["unsettled"] for row in found["agreement"].values())
    out.print(
        f"compared with {venue}'s own bars: last {last:%Y-%m-%d %H:%M} UTC, longest ago "
        f"{oldest:%Y-%m-%d %H:%M} UTC, {unsettled:,} windows in dispute",
        markup=False,
    )
    for name, row in found["agreement"].items():
        if row["never"] is not None:
            out.print(f"  {name} are never compared themselves: {row['never']} stand for them", markup=False)


def _process(row: dict[str, Any]) -> list[Any]:
    up = str(timedelta(seconds=int(row["uptime_seconds"]))) if row["uptime_seconds"] is not None else "–"
    healthy = "yes" if row["healthy"] else f"no: {row['trouble']}"
    return [row["name"], row["state"], str(row["pid"] or "–"), up, healthy]
