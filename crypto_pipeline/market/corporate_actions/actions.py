"""A split, a dividend or a rename, when it takes effect and since when it was known."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import polars as pl

from crypto_pipeline.market.timeframes import require_utc

_UTC_US = pl.Datetime("us", "UTC")


class ActionKind(StrEnum):
    """The kind of a corporate action."""

    SPLIT = "split"
    DIVIDEND = "dividend"
    RENAME = "rename"


@dataclass(frozen=True, slots=True)
class CorporateAction:
    """One corporate action of one instrument.

    ``effective_date`` is the first day on the new basis (the ex-date), ``effective_at`` its midnight in the zone of the
    exchange, and ``known_at`` the time from which the action was public, both UTC. A split replaces ``split_from``
    shares by ``split_to``. A dividend pays ``amount`` of ``currency`` per share as of the ex-date. A rename replaces
    ``old_symbol`` by ``new_symbol``. ``event_id`` is the venue's id; a correction has the id of what it corrects.
    """

    instrument: str
    kind: ActionKind
    effective_date: date
    effective_at: datetime
    known_at: datetime
    event_id: str
    split_from: float | None = None
    split_to: float | None = None
    amount: float | None = None
    currency: str | None = None
    old_symbol: str | None = None
    new_symbol: str | None = None

    @property
    def terms(self) -> tuple[object, ...]:
        """What a correction may change: everything but the instrument, the ids and when it was known."""
        return tuple(getattr(self, name) for name in TERMS)


#: The fields that a correction may change.
TERMS = ("effective_date", "split_from", "split_to", "amount", "currency", "old_symbol", "new_symbol")

#: Columns of a frame of corporate actions.
ACTION_SCHEMA: dict[str, pl.DataType] = {
    "instrument": pl.String(),
    "kind": pl.String(),
    "effective_date": pl.Date(),
    "effective_at": _UTC_US,
    "known_at": _UTC_US,
    "event_id": pl.String(),
    "split_from": pl.Float64(),
    "split_to": pl.Float64(),
    "amount": pl.Float64(),
    "currency": pl.String(),
    "old_symbol": pl.String(),
    "new_symbol": pl.String(),
}
assert tuple(ACTION_SCHEMA) == tuple(field.name for field in fields(CorporateAction))


def actions_frame(actions: Iterable[CorporateAction]) -> pl.DataFrame:
    """The actions in ACTION_SCHEMA, sorted by instrument and time."""
    rows = [tuple(getattr(each, name) for name in ACTION_SCHEMA) for each in actions]
    frame = pl.DataFrame(rows, schema=ACTION_SCHEMA, orient="row")
    return frame.sort("instrument", "effective_at", "kind", "event_id")


def split(
    instrument: str, day: date, zone: str, split_from: float, split_to: float, *, seen_at: datetime, event_id: str = ""
) -> CorporateAction:
    """A split: from ``day`` on, ``split_to`` shares stand for ``split_from``. ``seen_at``: when the venue stated it.

    Its announcement is not stated by venues: it counts as known from its effective time on, or from ``seen_at`` where
    that is earlier. Raises ValueError for a ratio that is none.
    """
    for value in (split_from, split_to):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"split of {instrument} on {day}: {split_to:g} for {split_from:g} is no ratio")
    effective = _day_start(day, zone)
    return CorporateAction(
        instrument, ActionKind.SPLIT, day, effective, min(effective, require_utc(seen_at)),
        event_id or f"split {day}", split_from=float(split_from), split_to=float(split_to),
    )  # fmt: skip


def dividend(
    instrument: str,
    day: date,
    zone: str,
    amount: float,
    currency: str,
    *,
    seen_at: datetime,
    declared: date | None = None,
    event_id: str = "",
) -> CorporateAction:
    """A cash dividend for those who held the share before ``day``. ``seen_at``: when the venue stated it.

    It counts as known from the end of the day on which it was ``declared``, else from its effective time on; from
    ``seen_at`` where that is earlier. Raises ValueError for an amount that is none.
    """
    if not (math.isfinite(amount) and amount > 0):
        raise ValueError(f"dividend of {instrument} on {day}: {amount:g} is no amount")
    effective = _day_start(day, zone)
    known = effective if declared is None else min(effective, _day_start(declared + timedelta(days=1), zone))
    return CorporateAction(
        instrument, ActionKind.DIVIDEND, day, effective, min(known, require_utc(seen_at)),
        event_id or f"dividend {day}", amount=float(amount), currency=currency.upper(),
    )  # fmt: skip


def rename(
    instrument: str, day: date, zone: str, old_symbol: str, new_symbol: str, *, seen_at: datetime, event_id: str = ""
) -> CorporateAction:
    """A rename: from ``day`` on ``new_symbol`` is the ticker that was ``old_symbol``; known as a split is.

    Raises ValueError where a ticker is empty or both are the same.
    """
    if not old_symbol or not new_symbol or old_symbol == new_symbol:
        raise ValueError(f"rename of {instrument} on {day}: {old_symbol!r} to {new_symbol!r} is no rename")
    effective = _day_start(day, zone)
    return CorporateAction(
        instrument, ActionKind.RENAME, day, effective, min(effective, require_utc(seen_at)),
        event_id or f"rename {day}", old_symbol=old_symbol, new_symbol=new_symbol,
    )  # fmt: skip


def _day_start(day: date, zone: str) -> datetime:
    return require_utc(datetime.combine(day, time(), ZoneInfo(zone)))
