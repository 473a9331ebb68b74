"""Checks of the database and of the clocks: it answers, can be written, its replica follows, and the clocks agree."""

from __future__ import annotations

from crypto_pipeline.defaults import replays
from crypto_pipeline.ops.checks.definition import CheckDefinition
from crypto_pipeline.ops.checks.observation import Observation
from crypto_pipeline.ops.checks.states import CheckFinding, bad, ok, unknown

#: Seconds by which two clocks may differ. A bar is expected `settle_delay` (5 s) after its end.
_CLOCK_LIMIT = 2.0
_SLOW = 0.5


def _database(seen: Observation) -> CheckFinding:
    if seen.database_trouble is not None:
        return bad(seen.database_trouble)
    return ok("it answers")


def _speed(seen: Observation) -> CheckFinding:
    took, said = seen.database_seconds, f"it answers within {seen.database_seconds * 1000:.0f} ms"
    return bad(f"{said}, which is slow", took) if took > _SLOW else ok(said, took)


def _writable(seen: Observation) -> CheckFinding:
    trouble = seen.known.read_only
    return ok("a row was written") if trouble is None else bad(f"nothing can be written: {trouble}")


def _clock(seen: Observation) -> CheckFinding:
    facts = seen.known
    off = {"this machine's clock": facts.host_ahead}
    # the clock of a recording that is replayed stands where the recording does
    venue = facts.clock_venue
    if facts.clock_ahead is not None and venue is not None and not replays(venue) and facts.clock_rate == 1.0:
        off[f"the clock of {venue}"] = facts.clock_ahead
    name, ahead = max(off.items(), key=lambda item: abs(item[1]))
    said = f"{name} is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
    return CheckFinding("bad" if abs(ahead) > _CLOCK_LIMIT else "ok", said, round(ahead, 3))


def _replica(seen: Observation) -> CheckFinding:
    facts = seen.replica
    if facts is None:
        return unknown("the replica was not looked at")
    if facts.trouble is not None:
        return bad(f"the replica at {facts.address} cannot be read from: {facts.trouble}")
    if facts.lag is None:
        return bad(f"the replica at {facts.address} has replayed nothing yet")
    lag = round(facts.lag, 3)
    said = f"the replica is {facts.lag:.0f} s behind" if lag else "the replica follows"
    if lag > seen.settings.database_read_lag:
        return bad(f"{said}: reads go to the primary", lag)
    return ok(said, lag)


CHECKS = (
    CheckDefinition(
        "database", "data_pipeline", "PostgreSQL answers.", "critical", evaluate=_database,
    ),
    CheckDefinition(
        "database_speed", "load", "PostgreSQL answers quickly.", "warning", f"≤ {_SLOW:g} s", "s",
        requires=("database",), evaluate=_speed,
    ),
    CheckDefinition(
        "database_writable", "data_pipeline", "Rows can be written to the database.", "critical",
        requires=("database",), evaluate=_writable,
    ),
    CheckDefinition(
        "clock", "edge_cases", "The clocks of this machine, of the database and of the venue agree.", "error",
        f"≤ {_CLOCK_LIMIT:g} s apart", "s", requires=("database",), evaluate=_clock,
    ),
    CheckDefinition(
        "replica", "load", "The replica that reads go to answers and follows the primary.", "warning",
        "≤ {settings.database_read_lag:g} s behind", "s", requires=("database",), evaluate=_replica,
        applies=lambda settings: settings.database_read_url is not None,
    ),
)  # fmt: skip
