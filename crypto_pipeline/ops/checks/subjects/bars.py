"""Checks of the bars as they come in: silent instruments, old gaps, coverage, age of features, banned venues."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

from crypto_pipeline.market.severity import Severity
from crypto_pipeline.ops.checks.definition import CheckDefinition
from crypto_pipeline.ops.checks.observation import Observation
from crypto_pipeline.ops.checks.states import CheckFinding, bad, ok, unknown

_OLDEST_GAP = timedelta(hours=24).total_seconds()
_COVERAGE_DAY, _COVERAGE_WEEK = 0.99, 0.98
_FEATURES_AGE = timedelta(minutes=30).total_seconds()
#: A pause after "too many requests" of a few seconds is usual. A longer one is a ban.
_BAN = 30.0
#: Shares of instruments that are as new as they should be: from the first on a warning, from the second on an error.
_MANY, _ENOUGH = 0.94, 0.83


def _bans(seen: Observation) -> CheckFinding:
    banned = {venue: left for venue, left in seen.known.bans.items() if left > _BAN}
    if not banned:
        return ok("every venue may be asked", 0.0)
    longest = max(banned.values())
    said = ", ".join(f"{venue} for {left:.0f} s more" for venue, left in sorted(banned.items()))
    offenders = tuple({"venue": venue, "seconds": round(left)} for venue, left in sorted(banned.items()))
    return bad(f"the venue refuses requests: {said}", longest, offenders=offenders)


def _silent(seen: Observation) -> CheckFinding:
    limit = seen.settings.freshness_ok
    series = seen.known.silences
    silent = sorted((one for one in series if one.seconds > limit), key=lambda one: -one.seconds)
    if not series:
        return unknown("no instrument that trades at all hours is collected")
    if not silent:
        return ok(f"all {len(series)} instruments have their newest bar", max(one.seconds for one in series))
    share = 1 - len(silent) / len(series)
    severity: Severity = "warning" if share >= _MANY else "error" if share >= _ENOUGH else "critical"
    names = ", ".join(one.instrument for one in silent[:5]) + (
        f" and {len(silent) - 5} more" if len(silent) > 5 else ""
    )
    longest = f"{silent[0].seconds:.0f} s"
    said = f"no new 1m bar of {len(silent)} of {len(series)} instruments, the longest for {longest}: {names}"
    offenders = tuple(
        {"instrument": one.instrument, "venue": one.venue, "seconds": round(one.seconds)} for one in silent[:50]
    )
    return bad(said, silent[0].seconds, severity, offenders)


def _oldest_gap(seen: Observation) -> CheckFinding:
    gap = seen.known.oldest_gap
    if gap is None:
        return ok("no gap waits for its bars or for a reason", 0.0)
    said = (
        f"{gap.gaps} gaps are open; the oldest: {gap.instrument} {gap.timeframe} since {gap.start:%Y-%m-%d %H:%M} UTC "
        f"({gap.state})"
    )
    offender = {"instrument": gap.instrument, "timeframe": gap.timeframe, "start": gap.start.isoformat()}
    bad = gap.seconds > _OLDEST_GAP
    return CheckFinding("bad" if bad else "ok", said, gap.seconds / 3600, offenders=(offender,) if bad else ())


def _coverage(seen: Observation, days: int, limit: float) -> CheckFinding:
    """The venue with the lowest share of expected bars that are present or explained."""
    rows = [one for one in seen.known.coverage if one.days == days and one.expected > 0]
    if not rows:
        return unknown("no instrument has been collected for an hour yet")
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one in rows:
        totals[one.venue][0] += one.expected
        totals[one.venue][1] += one.accounted
    shares = {venue: accounted / expected for venue, (expected, accounted) in totals.items()}
    venue, share = min(shares.items(), key=lambda item: item[1])
    expected, accounted = totals[venue]
    said = (
        f"{accounted:,} of {expected:,} expected bars of {venue or 'all venues'} are present or explained ({share:.2%})"
    )
    if share >= limit:
        return ok(said, share * 100)
    worst = sorted((one for one in rows if one.venue == venue), key=lambda one: one.accounted / one.expected)[:20]
    offenders = tuple(
        {"instrument": one.instrument, "expected": one.expected, "missing": one.expected - one.accounted}
        for one in worst
        if one.accounted < one.expected
    )
    return bad(f"{said}; most are missing of {worst[0].instrument}", share * 100, offenders=offenders)


def _coverage_day(seen: Observation) -> CheckFinding:
    return _coverage(seen, 1, _COVERAGE_DAY)


def _coverage_week(seen: Observation) -> CheckFinding:
    return _coverage(seen, 7, _COVERAGE_WEEK)


def _features(seen: Observation) -> CheckFinding:
    ages = seen.known.features
    if not ages:
        return unknown("no instrument that has been collected for two hours has features of the last days")
    late = [name for name, age in ages.items() if age > _FEATURES_AGE]
    oldest = max(ages.values())
    if not late:
        return ok(f"features of {len(ages)} instruments, the oldest {oldest / 60:.0f} min old", oldest / 60)
    names = ", ".join(late[:5]) + (f" and {len(late) - 5} more" if len(late) > 5 else "")
    offenders = tuple({"instrument": name, "minutes": round(ages[name] / 60)} for name in late[:50])
    return bad(f"features of {len(late)} of {len(ages)} instruments are old, the oldest {oldest / 60:.0f} min: {names}",
        oldest / 60, offenders=offenders,
    )  # fmt: skip


_LIVE = ("database", "database_writable", "ingest")

CHECKS = (
    CheckDefinition(
        "venue_bans", "data_pipeline", "Every venue may be asked.", "error", f"≤ {_BAN:g} s of pause", "s",
        requires=("database",), evaluate=_bans,
    ),
    CheckDefinition(
        "instruments_silent", "data_pipeline", "Every instrument that trades at all hours has its newest bar.",
        "warning", "overdue ≤ {settings.freshness_ok:g} s", "s", requires=(*_LIVE, "venue_bans"), evaluate=_silent,
        covers=("freshness",),
    ),
    CheckDefinition(
        "oldest_gap", "data_pipeline", "No gap stays without its bars or a reason for a day.", "error",
        f"≤ {_OLDEST_GAP / 3600:g} h", "h", requires=("database", "database_writable"), evaluate=_oldest_gap,
    ),
    CheckDefinition(
        "coverage_24h", "data_pipeline", "Nearly all bars expected since yesterday are present or explained.",
        "error", f"≥ {_COVERAGE_DAY:.0%}", "%", requires=_LIVE, evaluate=_coverage_day,
    ),
    CheckDefinition(
        "coverage_7d", "data_pipeline", "Nearly all bars expected in the last week are present or explained.",
        "error", f"≥ {_COVERAGE_WEEK:.0%}", "%", requires=("database", "database_writable"), evaluate=_coverage_week,
    ),
    CheckDefinition(
        "features_age", "data_pipeline", "The newest features of every instrument are young.", "error",
        f"≤ {_FEATURES_AGE / 60:g} min", "min", requires=(*_LIVE, "instruments_silent"), evaluate=_features,
    ),
)  # fmt: skip
