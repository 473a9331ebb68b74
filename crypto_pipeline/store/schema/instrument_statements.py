"""Statements that change ``market.instruments`` and ``market.listings``, for SQLAlchemy Core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, cast, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate, Update

from crypto_pipeline.store.schema.tables import INSTRUMENTS, LISTINGS

_LISTED = ("venue_symbol", "listed", "delisted", "status", "tick_size", "lot_size", "first_bars")


def add(values: Mapping[str, Any]) -> ReturningInsert[tuple[str]]:
    """The statement that collects an instrument; it returns the symbol if that is new.

    A removed instrument counts as added now, by the market's clock, so that its bars are not late from before.
    """
    rows = INSTRUMENTS.c
    now = func.market.now()
    return (
        insert(INSTRUMENTS)
        .values(**values, added_at=now)
        .on_conflict_do_update(
            index_elements=[rows.symbol],
            set_={"active": True, "added_at": now, "removed_at": None},
            where=rows.active.is_(False),
        )
        .returning(rows.symbol)
    )


def assign(venue: str) -> Update:
    """Make ``venue`` the one of instruments that have none."""
    return update(INSTRUMENTS).where(INSTRUMENTS.c.venue.is_(None)).values(venue=venue)


def remove(symbol: str) -> ReturningUpdate[tuple[int]]:
    """The statement that stops collecting an instrument; stored rows stay, and absent bars are no longer missing."""
    rows = INSTRUMENTS.c
    removed_at = func.coalesce(rows.removed_at, func.clock_timestamp())
    changed = update(INSTRUMENTS).where(rows.symbol == symbol).values(active=False, removed_at=removed_at)
    return changed.returning(rows.instrument_id)


def put_listing() -> Insert:
    """The statement that stores a venue's listing; parameters are ``symbol``, ``venue`` and the columns.

    A null keeps the stored value, and a row without a change is not written.
    """
    given = [cast(bindparam(name, type_=LISTINGS.c[name].type), LISTINGS.c[name].type) for name in ("venue", *_LISTED)]
    chosen = select(INSTRUMENTS.c.instrument_id, *given).where(INSTRUMENTS.c.symbol == bindparam("symbol"))
    statement = insert(LISTINGS).from_select(["instrument_id", "venue", *_LISTED], chosen)
    old, new = LISTINGS.c, statement.excluded
    merged = {
        "venue_symbol": new.venue_symbol,
        "listed": func.coalesce(new.listed, old.listed),
        "delisted": new.delisted,
        "status": new.status,
        "tick_size": func.coalesce(new.tick_size, old.tick_size),
        "lot_size": func.coalesce(new.lot_size, old.lot_size),
        "first_bars": old.first_bars.op("||")(new.first_bars),
    }
    before = tuple_(*(old[name] for name in _LISTED))
    return statement.on_conflict_do_update(
        index_elements=[old.instrument_id, old.venue],
        set_={**merged, "updated_at": func.now()},
        where=before.is_distinct_from(tuple_(*(merged[name] for name in _LISTED))),
    )
