"""Corporate actions (``market.corporate_actions``): every statement of a venue; of each event the newest holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import polars as pl

from crypto_pipeline.market.corporate_actions.actions import (
    ACTION_SCHEMA,
    TERMS,
    ActionKind,
    CorporateAction,
)
from crypto_pipeline.market.timeframes import require_utc
from crypto_pipeline.store.database.frames import named
from crypto_pipeline.store.database.instrument_ids import Symbols
from crypto_pipeline.store.database.pool import Connections

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: Key of the advisory lock that writers hold; any number that stays the same.
_LOCK = 0x616374696F6E73  # "actions"
_COLUMNS = tuple(name for name in ACTION_SCHEMA if name != "instrument")

# Where two venues state an action of one day and kind, that of one of them counts.
_QUERY = f"""
SELECT instrument_id, {", ".join(_COLUMNS)}
FROM (
    SELECT n.*, dense_rank() OVER (PARTITION BY n.instrument_id, n.kind, n.effective_date ORDER BY n.venue) AS turn
    FROM (
        SELECT DISTINCT ON (instrument_id, venue, event_id) *
        FROM market.corporate_actions
        WHERE instrument_id = ANY({{ids}}) AND known_at <= {{known}}::text::timestamptz
        ORDER BY instrument_id, venue, event_id, known_at DESC
    ) AS n
    WHERE NOT n.withdrawn AND n.effective_at <= {{effective}}::text::timestamptz
) AS a
WHERE turn = 1
"""  # noqa: S608  (names of ours)


_AS_OF = _QUERY.format(ids="$1", known="$2", effective="$3")
#: The same for psycopg, which answers sooner where there are few rows.
_AS_OF_FEW = _QUERY.format(ids="%s::int[]", known="%s", effective="%s")
_SORTED_BY = ("instrument", "effective_at", "kind", "event_id")
_ORDER = itemgetter(*(tuple(ACTION_SCHEMA).index(name) for name in _SORTED_BY))
#: Up to so many instruments are few.
_FEW = 8


@dataclass(frozen=True, slots=True)
class RecordedActions:
    """How many events were stated for the first time, changed, and withdrawn."""

    added: int = 0
    changed: int = 0
    withdrawn: int = 0


class CorporateActions:
    """Reads and writes ``market.corporate_actions``. Thread-safe. Rows are only added."""

    def __init__(self, connections: Connections, symbols: Symbols) -> None:
        self._connections, self._symbols = connections, symbols

    def as_of(
        self, instruments: Sequence[str], moment: datetime, *, effective_by: datetime | None = None
    ) -> pl.DataFrame:
        """The actions of ``instruments`` as they were known at ``moment``, in ACTION_SCHEMA, by instrument and time.

        Those that take effect after ``effective_by`` (default: ``moment``) are left out.
        """
        ids = self._symbols.ids(instruments)
        times = [require_utc(each).isoformat() for each in (moment, effective_by or moment)]
        values = [list(ids.values()), *times]
        if len(ids) <= _FEW:
            symbols = {number: symbol for symbol, number in ids.items()}
            rows = [(symbols[row[0]], *row[1:]) for row in self._connections.rows(_AS_OF_FEW, values)]
            return pl.DataFrame(sorted(rows, key=_ORDER), schema=ACTION_SCHEMA, orient="row")
        typed = [pl.col(name).cast(dtype) for name, dtype in ACTION_SCHEMA.items()]
        return named(self._connections.frame(_AS_OF, values), ids).select(typed).sort(_SORTED_BY)

    def record(
        self,
        actions: Sequence[CorporateAction],
        venue: str,
        *,
        seen_at: datetime,
        whole: Collection[tuple[str, ActionKind]] = (),
    ) -> RecordedActions:
        """Store what ``venue`` states at ``seen_at``; what is stored already and says the same adds no row.

        A changed event is known from ``seen_at`` on; until then what was stated before holds. ``whole`` names
        (instrument, kind) of which ``actions`` has all that the venue states: stored ones that are absent are withdrawn
        from ``seen_at`` on.
        """
        names = {*(each.instrument for each in actions), *(name for name, _ in whole)}
        ids = self._symbols.ids(sorted(names))
        moment = require_utc(seen_at)

        def work(connection: Connection) -> RecordedActions:
            return _record(connection, actions, venue, moment, ids, whole)

        return self._connections.run_core(work) if names else RecordedActions()


def _record(
    connection: Connection,
    actions: Sequence[CorporateAction],
    venue: str,
    moment: datetime,
    ids: Mapping[str, int],
    whole: Collection[tuple[str, ActionKind]],
) -> RecordedActions:
    from sqlalchemy import func, insert, select

    from crypto_pipeline.store.schema.tables import CORPORATE_ACTIONS

    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    stored = _newest(connection, venue, list(ids.values()))
    rows, added, changed = [], 0, 0
    stated: set[tuple[int, str]] = set()
    for each in actions:
        key = ids[each.instrument], each.event_id
        stated.add(key)
        before = stored.get(key)
        if before is not None and not before.withdrawn and tuple(getattr(before, name) for name in TERMS) == each.terms:
            continue
        row = {name: getattr(each, name) for name in _COLUMNS}
        row |= {"instrument_id": key[0], "venue": venue, "kind": str(each.kind)}
        if before is not None:
            row["known_at"] = _after(before, moment)
        added, changed = added + (before is None), changed + (before is not None)
        rows.append(row | {"withdrawn": False})
    complete = {(ids[name], str(kind)) for name, kind in whole}
    gone = [
        {name: getattr(old, name) for name in (*_COLUMNS, "instrument_id", "venue")}
        | {"known_at": _after(old, moment), "withdrawn": True}
        for key, old in stored.items()
        if not old.withdrawn and key not in stated and (old.instrument_id, old.kind) in complete
    ]
    if rows or gone:
        connection.execute(insert(CORPORATE_ACTIONS), rows + gone)
    return RecordedActions(added, changed, len(gone))


def _newest(connection: Connection, venue: str, ids: list[int]) -> dict[tuple[int, str], Any]:
    """The newest row of every event that the venue ever stated of these instruments."""
    from sqlalchemy import select

    from crypto_pipeline.store.schema.tables import CORPORATE_ACTIONS

    columns = CORPORATE_ACTIONS.c
    query = (
        select(CORPORATE_ACTIONS)
        .where(columns.venue == venue, columns.instrument_id.in_(ids))
        .distinct(columns.instrument_id, columns.event_id)
        .order_by(columns.instrument_id, columns.event_id, columns.known_at.desc())
    )
    return {(row.instrument_id, row.event_id): row for row in connection.execute(query)}


def _after(before: Any, moment: datetime) -> datetime:
    """When a correction is known: now, and in any case after what it corrects."""
    earliest: datetime = before.known_at + timedelta(microseconds=1)
    return max(moment, earliest)
