"""Brings stored macro series up to date: asks whether a series changed, fetches new vintages, records failures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from crypto_pipeline.market.macro.series import find_series, guess_frequency
from crypto_pipeline.market.macro.vintages import Availability
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import JobMetrics, Store
from crypto_pipeline.store.macro.reads import MacroRow
from crypto_pipeline.store.macro.writer import MacroWrite
from crypto_pipeline.venues.client.http import MAX_PAUSE
from crypto_pipeline.venues.fred.parse import SeriesFacts
from crypto_pipeline.venues.fred.rest import FredClient, KeyRefused, NoVintages, make_fred
from crypto_pipeline.venues.protocol import MalformedAnswer, RejectedRow, VenueError, VenueUnavailable

JOB = "macro_sync"
#: The release calendar of a series is asked for again after this.
_CALENDAR_AGE = timedelta(days=1)
#: Seconds: no pause after failures is longer.
_LONGEST_PAUSE = 86_400.0


@dataclass(slots=True)
class SeriesOutcome:
    """The result of one series: counts of new, changed, replaced and refused rows, and the error if it failed."""

    series: str
    status: Literal["stored", "unchanged", "failed"]
    added: int = 0
    changed: int = 0
    replaced: int = 0
    refused: int = 0
    problem: str = ""


@dataclass(slots=True)
class MacroReport:
    """The results of one pass over the series."""

    outcomes: list[SeriesOutcome] = field(default_factory=list)

    @property
    def problems(self) -> dict[str, str]:
        """Error messages by series."""
        return {one.series: one.problem for one in self.outcomes if one.problem}

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each series."""
        return [asdict(one) for one in self.outcomes]


async def sync_macro(
    store: Store, settings: Settings, rows: Sequence[MacroRow], *, full: bool = False, run_id: str | None = None
) -> MacroReport:
    """Bring ``rows`` up to date, one after the other; a series that fails costs only itself. Its figures are kept in
    ``ops.job_metrics``. ``full``: every vintage is fetched again. Raises StoreError."""
    started, clock = datetime.now(UTC), time.monotonic()
    client = make_fred(settings, store.budgets.of(FredClient.name))
    try:
        sync = MacroSync(store, client, settings.heal_backoff, store.clock.now())
        report = await sync.run(rows, full=full, paused=store.budgets.paused(FredClient.name))
    finally:
        await client.close()
    store.metrics.record(
        JobMetrics(
            job=JOB,
            started=started,
            seconds=time.monotonic() - clock,
            run_id=run_id,
            rows=sum(one.added + one.changed for one in report.outcomes),
            detail={"problems": report.problems},
        )
    )
    return report


class MacroSync:
    """One pass over macro series. ``pause``: seconds after a first failure. ``now``: the market's time."""

    def __init__(self, store: Store, client: FredClient, pause: float, now: datetime) -> None:
        self._macro, self._client, self._pause, self._now = store.macro, client, pause, now

    async def run(self, rows: Sequence[MacroRow], *, full: bool = False, paused: float = 0.0) -> MacroReport:
        """Bring each series up to date. No further request is sent once the key was refused, or while the source
        demands a pause that no request waits for; ``paused``: seconds of one that it demanded before."""
        report = MacroReport()
        stop: VenueError | None = _pause(paused) if paused > MAX_PAUSE else None
        for row in rows:
            try:
                if stop is not None:
                    raise stop
                outcome = await self._bring_up_to_date(row, full=full)
            except VenueError as error:
                stop = stop or _ends_the_pass(error)
                self._macro.failed(row.series_id, str(error), self._now, self._pause, _LONGEST_PAUSE)
                outcome = SeriesOutcome(row.name, "failed", problem=str(error))
            report.outcomes.append(outcome)
        return report

    async def _bring_up_to_date(self, row: MacroRow, *, full: bool) -> SeriesOutcome:
        if not self._client.has_key:
            return await self._from_csv(row)
        facts = await self._client.series(row.series_id)
        row_facts = _described(facts)
        release_id = await self._calendar(row)
        if facts.last_updated == row.last_updated and row.problem is None and not full:
            self._macro.note(row.series_id, **self._fine(), **row_facts)
            return SeriesOutcome(row.name, "unchanged")
        availability = self._availability(row, release_id)
        refused: Sequence[RejectedRow]
        try:
            answer = await self._client.observations(row.series_id, await self._vintages(row, full=full))
            refused = answer.refused
            stated = {"has_vintages": True, "last_updated": None if refused else facts.last_updated}
            noted = {**self._stored(), **row_facts, **stated}
            written = self._macro.write(row.series_id, answer.vintages, availability, **noted)
        except NoVintages:
            newest = await self._client.current(row.series_id)
            refused, values = newest.refused, [(one.period, one.value) for one in newest.vintages]
            stated = {"has_vintages": False, "last_updated": None if refused else facts.last_updated}
            noted = {**self._stored(), **row_facts, **stated}
            written = self._macro.write_snapshot(row.series_id, values, availability, **noted)
        return self._outcome(row, written, refused)

    async def _from_csv(self, row: MacroRow) -> SeriesOutcome:
        """Without a key: the newest values alone, each known since it was first fetched."""
        values, refused = await self._client.csv(row.series_id)
        noted: dict[str, Any] = self._stored() | {"has_vintages": bool(row.has_vintages), "last_updated": None}
        if not row.frequency:
            noted["frequency"] = guess_frequency([period for period, _ in values])
        availability = self._availability(row, row.release_id)
        return self._outcome(row, self._macro.write_snapshot(row.series_id, values, availability, **noted), refused)

    async def _vintages(self, row: MacroRow, *, full: bool) -> list[date]:
        """First days of the vintages to fetch: from the newest stored one on, or all where stored ones are not those
        that are stated."""
        stated = await self._client.vintage_dates(row.series_id)
        if not stated:
            raise MalformedAnswer(f"FRED states no vintage of {row.series_id}")
        stored = self._macro.vintage_days(row.series_id)
        if full or not stored or not row.has_vintages:
            return stated
        newest = max(stored)
        whole = stored == {day for day in stated if day <= newest}
        return [day for day in stated if day >= newest] if whole else stated

    async def _calendar(self, row: MacroRow) -> int | None:
        """Number of the series' release, its calendar brought up to date once a day."""
        release_id = row.release_id
        if release_id is None:
            release_id, name = await self._client.release(row.series_id)
            self._macro.note(row.series_id, release_id=release_id, release_name=name)
        if row.calendar_at is None or self._now - row.calendar_at >= _CALENDAR_AGE:
            everything = row.calendar_at is None
            self._macro.add_release_dates(
                release_id, await self._client.release_dates(release_id, everything=everything)
            )
            self._macro.note(row.series_id, calendar_at=self._now)
        return release_id

    def _availability(self, row: MacroRow, release_id: int | None) -> Availability:
        known = find_series(row.name)
        days = frozenset(self._macro.release_dates(release_id))
        return Availability(row.zone, self._now, days, known.release_time, known.release_zone)

    def _fine(self) -> dict[str, Any]:
        return {"looked_at": self._now, "attempts": 0, "next_attempt": None, "problem": None}

    def _stored(self) -> dict[str, Any]:
        return self._fine() | {"collected_at": self._now}

    def _outcome(self, row: MacroRow, written: MacroWrite, refused: Sequence[RejectedRow]) -> SeriesOutcome:
        """Rows that were refused are a problem, for which the series is asked again."""
        problem = ""
        if refused:
            problem = f"{len(refused)} rows are not believed, first: {refused[0].why}"
            self._macro.note(row.series_id, attempts=row.attempts)
            self._macro.failed(row.series_id, problem, self._now, self._pause, _LONGEST_PAUSE)
        counts = written.added, written.changed, written.replaced
        return SeriesOutcome(row.name, "stored", *counts, len(refused), problem)


def _described(facts: SeriesFacts) -> dict[str, str]:
    names = ("title", "units", "frequency", "seasonal_adjustment")
    return {name: getattr(facts, name) for name in names}


def _ends_the_pass(error: VenueError) -> VenueError | None:
    """What every further series fails with after this error; None if the next one may be asked for."""
    if isinstance(error, KeyRefused):
        return error
    wait = error.retry_after if isinstance(error, VenueUnavailable) else None
    return _pause(wait) if wait is not None and wait > MAX_PAUSE else None


def _pause(seconds: float) -> VenueUnavailable:
    return VenueUnavailable(f"{FredClient.name} demands a pause of {seconds:.0f} s", retry_after=seconds)
