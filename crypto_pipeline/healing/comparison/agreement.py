"""How far our bars agree with the venue's own: how many were compared, when, and which never can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from crypto_pipeline.market.checks import CheckOutcome
from crypto_pipeline.market.timeframes import HIGHER_TIMEFRAMES, Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.venues import VenueTraits

NAME = "venue_agreement"
#: A day is compared when it has been over for this long: by then its bars are stored and the venue's are final.
_OVER = timedelta(hours=1)


def comparable(traits: VenueTraits) -> list[Timeframe]:
    """The timeframes that are compared, narrowest first: those above 1m in which the venue states bars that roll up."""
    compared = traits.timeframes if traits.compared is None else traits.compared
    return [timeframe for timeframe in HIGHER_TIMEFRAMES if timeframe in compared]


def stands_for(timeframe: Timeframe, traits: VenueTraits) -> Timeframe | None:
    """The timeframe whose comparison counts for ``timeframe``: its own, or where it is not compared itself, that of the
    next narrower timeframe from which it is rolled up, or for 1m the next wider one. None: there is none."""
    compared = comparable(traits)
    if timeframe in compared:
        return timeframe
    narrower = [one for one in compared if one.minutes < timeframe.minutes]
    return narrower[-1] if narrower else (compared[0] if compared else None)


def comparable_spans(
    traits: VenueTraits, first_opens: dict[Timeframe, datetime], now: datetime
) -> dict[Timeframe, tuple[datetime, datetime]]:
    """Whole days (weeks) that can be compared at ``now``, by timeframe: kept by us and the venue, and long enough over.

    ``first_opens`` says where the kept history of each timeframe begins.
    """
    spans = {}
    for timeframe in comparable(traits):
        cell = Timeframe.W1 if timeframe is Timeframe.W1 else Timeframe.D1
        begins = cell.floor(first_opens[timeframe])
        if traits.kept_bars is not None:
            begins = max(begins, cell.ceil(now - traits.kept_bars * timeframe.delta))
        ends = cell.floor(now - _OVER)
        if begins < ends:
            spans[timeframe] = (begins, ends)
    return spans


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the bars of one timeframe were compared with the venue's own. Counts are bars of days that are over."""

    venue: str
    timeframe: Timeframe
    #: the timeframe that was compared: this one, or the one that counts for it; None: nothing can be compared
    through: Timeframe | None
    stored: int = 0
    compared: int = 0
    #: bars of compared days that cannot be compared: minutes under them are absent, or come from another venue
    incomparable: int = 0
    unsettled: int = 0
    first_day: date | None = None
    last_day: date | None = None
    oldest: datetime | None = None
    newest: datetime | None = None

    @property
    def share(self) -> float:
        """Part of the stored bars that was compared in their present state, 0 to 1."""
        return self.compared / self.stored if self.stored else 0.0

    @property
    def never(self) -> str | None:
        """Why this timeframe is never compared itself; None: it is."""
        if self.through is self.timeframe:
            return None
        if self.through is None:
            return f"{self.venue} states no wider bars that could be compared"
        if self.timeframe is Timeframe.M1:
            return f"1m bars are what {self.venue} states or what its trades make; the {self.through} bars made of them"
        return f"{self.venue} states no {self.timeframe} bars; the {self.through} bars that they are made of"

    def sentence(self) -> str:
        """The share, the span and the time of the comparison in one sentence."""
        whose = f"{self.through or self.timeframe} bars"
        if not self.compared or self.newest is None or self.oldest is None:
            found = f"none of {self.stored:,} {whose} of closed days was compared with {self.venue}'s own yet"
        else:
            found = (
                f"{self.compared:,} of {self.stored:,} {whose} of closed days ({_percent(self.share)}) compared with "
                f"{self.venue}'s own, {self.first_day} to {self.last_day}, last {self.newest:%Y-%m-%d %H:%M} UTC, "
                f"the longest ago {self.oldest:%Y-%m-%d %H:%M} UTC"
            )
            if self.incomparable:
                found += f"; {self.incomparable:,} never comparable: minutes under them are absent or another venue's"
        if self.through is None:
            return f"of closed days nothing can be compared: {self.never}"
        return found if self.never is None else f"never compared themselves: {self.never} stand for them; {found}"

    def as_dict(self) -> dict[str, Any]:
        """The figures, JSON-ready."""
        return {
            "share": round(self.share, 6),
            "compared": self.compared,
            "incomparable": self.incomparable,
            "stored": self.stored,
            "unsettled": self.unsettled,
            "through": str(self.through) if self.through else None,
            "never": self.never,
            "first_day": self.first_day,
            "last_day": self.last_day,
            "oldest": self.oldest,
            "newest": self.newest,
        }


def agreements(
    store: Store, venue: str, traits: VenueTraits, now: datetime, timeframes: Sequence[Timeframe] = tuple(Timeframe)
) -> dict[Timeframe, Agreement]:
    """What was compared with ``venue`` by ``now``, of each timeframe."""
    asked = [through for one in timeframes if (through := stands_for(one, traits)) is not None]
    rows = {row["timeframe"]: row for row in store.comparisons.summary(venue, now, asked).iter_rows(named=True)}
    active = [row.instrument.symbol for row in store.instruments.list(venue=venue)]
    unsettled = dict(store.reconciliations.open(instruments=active)["timeframe"].value_counts().iter_rows())
    names = ("stored", "compared", "incomparable", "first_day", "last_day", "oldest", "newest")
    found = {}
    for timeframe in timeframes:
        through = stands_for(timeframe, traits)
        row = rows.get(str(through), {})
        figures = {name: row[name] for name in names if name in row}
        found[timeframe] = Agreement(venue, timeframe, through, unsettled=unsettled.get(str(timeframe), 0), **figures)
    return found


def venue_agreement(store: Store, agreement: Agreement, now_compared: int, stored: int) -> CheckOutcome:
    """The check whether the bars of a timeframe agree with the venue's, as far as they were compared.

    It fails when bars are ``stored`` and none was compared, unless the venue states none that could be, or has no
    instrument here.
    ``now_compared`` bars were compared just now, besides those of closed days, which are in the store. Raises
    StoreError.
    """
    timeframe = agreement.timeframe
    active = [row.instrument.symbol for row in store.instruments.list(venue=agreement.venue)]
    if not active:
        said = f"no instrument of {agreement.venue} is collected: there is nothing to compare"
        return CheckOutcome(NAME, timeframe, True, "warning", said)
    unsettled = store.reconciliations.open(timeframe=timeframe, instruments=active)
    said = agreement.sentence() + (f"; {now_compared:,} of the newest days just now" if now_compared else "")
    figures = {
        "bars_compared": agreement.compared,
        "bars_incomparable": agreement.incomparable,
        "share_compared": round(agreement.share, 6),
        "compared_just_now": now_compared,
        "unsettled": unsettled.height,
    }
    if unsettled.height:
        first = unsettled.sort("open_time").row(0, named=True)
        who = unsettled["instrument"].n_unique()
        where = f"{first['instrument']} {first['open_time']:%Y-%m-%d %H:%M} UTC"
        disputed = f"{unsettled.height:,} windows in dispute with {agreement.venue}, of {who} instruments"
        said = f"{disputed}; first: {where}; {said}"
        return CheckOutcome(NAME, timeframe, False, "warning", said, unsettled, figures)
    if agreement.compared or now_compared:
        return CheckOutcome(NAME, timeframe, True, "warning", f"{said}; none differs", pl.DataFrame(), figures)
    if agreement.through is None:
        return CheckOutcome(NAME, timeframe, True, "warning", said, pl.DataFrame(), figures)
    if not stored and not agreement.stored:
        said = f"no {timeframe} bar is stored: there is nothing to compare"
        return CheckOutcome(NAME, timeframe, True, "warning", said, pl.DataFrame(), figures)
    return CheckOutcome(NAME, timeframe, False, "warning", said, pl.DataFrame(), figures)


def _percent(share: float) -> str:
    """As text, never rounded up to 100 %."""
    return "100 %" if share >= 1 else f"{int(share * 1000) / 10:.1f} %"
