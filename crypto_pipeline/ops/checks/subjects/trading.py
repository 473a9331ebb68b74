"""Checks of trading, several times a minute. What runs check is in ``stored_data``."""

from __future__ import annotations

from crypto_pipeline.ops.checks.definition import CheckDefinition
from crypto_pipeline.ops.checks.observation import Observation
from crypto_pipeline.ops.checks.states import CheckFinding, bad, ok

#: Seconds for which an order may be unknown, and since the last comparison with a venue that holds positions.
_UNKNOWN, _COMPARED = 60.0, 900.0
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


def _orders(seen: Observation) -> CheckFinding:
    """Orders at brokers: each of them is known, and what is held has a sale that covers it."""
    brokers = seen.known.brokers
    if not brokers:
        return ok("no position is open at a broker", 0.0)
    longest = max(one.unknown for one in brokers)
    bare = [{"broker": one.broker, "instrument": name} for one in brokers for name in one.bare]
    if bare:
        return bad(f"{len(bare)} positions are held without a stop: is `broker run` running?", longest, offenders=bare)
    if longest > _UNKNOWN:
        return bad(f"an order has been unknown for {longest:.0f} s", longest)
    return ok(f"{sum(one.positions for one in brokers)} positions, every order is known", longest)


def _agrees(seen: Observation) -> CheckFinding:
    """The last comparison with each venue that holds positions."""
    brokers = seen.known.brokers
    if not brokers:
        return ok("no position is open at a broker", 0.0)
    told = [{"broker": one.broker, "difference": each} for one in brokers for each in one.differences or ()]
    if told:
        return bad("; ".join(each["difference"] for each in told[:3]), float(len(told)), offenders=told)
    late = [one for one in brokers if one.compared is None or one.compared > _COMPARED]
    if late:
        return bad(f"positions were not compared with {late[0].broker} for a quarter of an hour: `broker run`", 0.0)
    return ok("orders and positions are those of the venue", 0.0)


CHECKS = (
    CheckDefinition(
        "scans_current", "strategies", "Every strategy scans every bar as it closes.", "error",
        f"≤ {_LATE / 60:g} min + the setting scan_deadline_seconds", "min",
        requires=("database", "database_writable", "ingest"), evaluate=_scans,
    ),
    CheckDefinition(
        "orders_known", "strategies", "Every order at a broker is known, and every position has a stop.", "critical",
        f"≤ {_UNKNOWN:g} s unknown, none without a stop", "s", requires=("database",), evaluate=_orders,
    ),
    CheckDefinition(
        "venue_positions", "strategies", "Positions at a broker are those of the venue.", "error",
        "no difference", "differences", requires=("database", "orders_known"), evaluate=_agrees,
    ),
)  # fmt: skip
