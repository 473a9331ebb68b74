"""How far the mirror has looked at each series, so that a run costs what changed and not what is stored.

Versions of cells come from a sequence and commit in any order. So a version counts as seen only once every transaction
that ran when it was drawn has ended; until then cells are looked at twice. What changes without a version (retention,
archive files, another folder) asks for a look at all cells, and so does a day without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from crypto_pipeline.store.mirror.catalogue import SCHEMA_VERSION
from crypto_pipeline.store.mirror.datasets import MirrorSeries

#: Time after which all cells of a series are looked at again.
WHOLE_EVERY = timedelta(days=1)
#: Days after which labels that still wait for their horizon are mirrored.
LABELS_WAIT = 14

_SEQUENCES = {
    "bars": "market.data_version",
    "features": "research.feature_version",
    "labels": "research.label_version",
}
_STATE = """
SELECT l.above, l.pending_version, l.pending_xid, coalesce(l.again, 0) AS again, l.market_time, l.whole_at, l.archived,
       l.schema_version, l.base_url, clock_timestamp() AS now,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next,
       (SELECT coalesce(sum(archive_id), 0)::bigint FROM market.archive_files
        WHERE status = 'current' AND kind = 'bars' AND %(dataset)s = 'bars' AND timeframe = %(series)s) AS archives
FROM (SELECT) one LEFT JOIN lake.looks l ON l.dataset = %(dataset)s AND l.series = %(series)s
"""
_NOTE = """
INSERT INTO lake.looks AS l (dataset, series, above, pending_version, pending_xid, market_time, whole_at, archived,
    schema_version, base_url)
VALUES (%(dataset)s, %(series)s, %(above)s, %(pending_version)s, %(pending_xid)s, %(market_time)s, %(whole_at)s,
    %(archived)s, %(schema_version)s, %(base_url)s)
ON CONFLICT (dataset, series) DO UPDATE SET
    above = excluded.above, pending_version = excluded.pending_version, pending_xid = excluded.pending_xid,
    market_time = excluded.market_time, whole_at = excluded.whole_at, archived = excluded.archived,
    schema_version = excluded.schema_version, base_url = excluded.base_url
WHERE l.again = %(again)s
"""


@dataclass(frozen=True, slots=True)
class MirrorMoment:
    """The moment (UTC, of the market) at which cells are ready, and where files are now stored."""

    now: datetime
    base_url: str

    @property
    def settled(self) -> date:
        """The UTC day a day ago."""
        return (self.now - timedelta(days=1)).date()


@dataclass(frozen=True, slots=True)
class MirrorLook:
    """What is looked at of a series: cells with versions greater than ``above``, and days from ``since`` on.

    Without ``since`` all cells are. ``noted`` is what is recorded once all that was due is made.
    """

    of: MirrorSeries
    above: int
    since: date | None
    noted: dict[str, Any]


def begin(
    connection: psycopg.Connection[Any], of: MirrorSeries, moment: MirrorMoment, *, whole: bool = False
) -> MirrorLook:
    """The next look at a series; ``whole``: at all its cells."""
    key = {"dataset": of.dataset, "series": of.series}
    # before the snapshot of the next statement, which tells the transactions that may have drawn versions by now
    (newest,) = connection.execute(f"SELECT last_value FROM {_SEQUENCES[of.dataset]}").fetchone() or (0,)  # noqa: S608
    with connection.cursor(row_factory=dict_row) as cursor:
        state = cursor.execute(_STATE, key).fetchone()
    assert state is not None
    before = state["market_time"]
    whole = (
        whole
        or before is None
        or before > moment.now
        or state["now"] - state["whole_at"] > WHOLE_EVERY
        or state["above"] > newest
        or (state["archived"], state["schema_version"], state["base_url"])
        != (state["archives"], SCHEMA_VERSION, moment.base_url)
    )
    noted = key | {
        "again": state["again"],
        "market_time": moment.now,
        "whole_at": state["now"] if whole else state["whole_at"],
        "archived": state["archives"],
        "schema_version": SCHEMA_VERSION,
        "base_url": moment.base_url,
    }
    above = min(state["above"] or 0, newest)
    return MirrorLook(of, above, None if whole else _since(of, before, moment), noted | _seen(state, above, newest))


def note(connection: psycopg.Connection[Any], look: MirrorLook) -> None:
    """Record that all that a look found is made, unless a look at all cells was asked for meanwhile."""
    connection.execute(_NOTE, look.noted)


def _seen(state: dict[str, Any], above: int, newest: int) -> dict[str, int | None]:
    """Up to which version everything is seen after a look, and what is seen once its transactions have ended."""
    pending, xid = state["pending_version"], state["pending_xid"]
    if state["oldest"] >= state["next"]:
        return {"above": newest, "pending_version": None, "pending_xid": None}
    if pending is None or pending > newest or xid is None or xid > state["next"]:
        return {"above": above, "pending_version": newest, "pending_xid": state["next"]}
    if state["oldest"] >= xid:
        return {"above": max(above, pending), "pending_version": newest, "pending_xid": state["next"]}
    return {"above": above, "pending_version": pending, "pending_xid": xid}


def _since(of: MirrorSeries, before: datetime, moment: MirrorMoment) -> date:
    """The first day that may be ready, or belong in another file, without a new version since the look ``before``."""
    settled = (before - timedelta(days=1)).date()
    waits = LABELS_WAIT if of.dataset == "labels" else 0
    first = settled - timedelta(days=max(of.cell_days, waits))
    if of.grain in ("alone", "days"):
        month = settled.replace(day=1)
        month_end = (month + timedelta(days=31)).replace(day=1)
        week = month + timedelta(days=(settled.day - 1) // 8 * 8)
        if month_end <= moment.settled:
            return min(first, month)
        if week + timedelta(days=8) <= moment.settled:
            return min(first, week)
    return first
