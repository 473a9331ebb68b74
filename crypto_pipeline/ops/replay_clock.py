"""The clock of a replay exchange whose time differs from this machine's, or the shift of its recording.

Both are kept over restarts. A recording that is not shifted keeps its own dates, so the exchange's clock shows them.
Like a real venue's clock it continues while nothing runs here. If it began again with each start, stored bars would lie
in its future.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store

_DAY = timedelta(days=1)
#: Name under which the day is kept before which things happened to the generated stocks.
_STOCKS = "generated stocks"


@dataclass(frozen=True, slots=True)
class ReplayClock:
    """The exchange's clock showed ``venue`` when this machine's showed ``wall`` (both UTC), and runs ``speed`` times as
    fast."""

    wall: datetime
    venue: datetime
    speed: float

    def at(self, wall: datetime) -> datetime:
        """The exchange's time when this machine's clock shows ``wall``."""
        return self.venue + (wall - self.wall) * self.speed


def own_clock(settings: Settings) -> bool:
    """Whether the replay exchange of these settings has a time other than this machine's."""
    recorded = settings.replay_source != "generated" and not settings.replay_shift_to_now
    recorded = recorded or settings.replay_stocks is not None
    return settings.replayed and (recorded or settings.replay_now is not None or settings.replay_speed != 1.0)


def replay_clock(settings: Settings, places: Places, wall: datetime | None = None) -> ReplayClock | None:
    """The clock of this deployment's exchange, begun now if it never ran; None if it shows this machine's time.

    Raises ReplayError when the recording cannot be read.
    """
    if not own_clock(settings):
        return None
    wall = wall or datetime.now(UTC)
    kept = known_clock(settings, places)
    if kept is not None and kept.speed == settings.replay_speed:
        return kept
    begun = settings.replay_now or _begin(settings, wall) if kept is None else kept.at(wall)
    clock = ReplayClock(wall, begun.astimezone(UTC), settings.replay_speed)
    _keep(places, _name(settings), clock)
    return clock


def shifted_at(settings: Settings, places: Places, wall: datetime) -> datetime | None:
    """The time (UTC) at which the recording was first shifted to now; None if it is not shifted.

    A new shift one week later would give stored days other prices.
    """
    if settings.replay_source == "generated" or not settings.replay_shift_to_now:
        return None
    name = f"{settings.replay_source} shifted"
    kept = _kept(places).get(name)
    if kept is not None:
        return ReplayClock(**kept).wall
    _keep(places, name, ReplayClock(wall, wall, settings.replay_speed))
    return wall


def stocks_day(settings: Settings, places: Places) -> date:
    """The day on which the exchange's stocks were first asked for.

    What happened to them lies before it. A day that moved on would give stored bars other prices.
    """
    wall = datetime.now(UTC)
    kept = _kept(places).get(_STOCKS)
    if kept is not None:
        return ReplayClock(**kept).venue.date()
    clock = replay_clock(settings, places, wall)
    begun = wall if clock is None else clock.at(wall)
    _keep(places, _STOCKS, ReplayClock(wall, begun, settings.replay_speed))
    return begun.date()


def tell(settings: Settings, places: Places, store: Store) -> None:
    """Store the exchange's time in the database, so that all code uses it before the exchange answers."""
    wall = datetime.now(UTC)
    clock = replay_clock(settings, places, wall)
    if clock is not None:
        store.clock.learn(settings.venue, clock.at(wall), clock.speed)


def known_clock(settings: Settings, places: Places) -> ReplayClock | None:
    """The kept clock of the exchange of these settings; None if it never ran."""
    kept = _kept(places).get(_name(settings))
    return None if kept is None else ReplayClock(**kept)


def _name(settings: Settings) -> str:
    """Key of the clock: one per recording and per start time set in ``replay_now``."""
    asked = "" if settings.replay_now is None else f" from {settings.replay_now.astimezone(UTC).isoformat()}"
    stocks = "" if settings.replay_stocks is None else f" with stocks of {settings.replay_stocks}"
    return f"{settings.replay_source}{stocks}{asked}"


def _kept(places: Places) -> dict[str, dict[str, Any]]:
    """All kept clocks by key. A file with other contents is replaced."""
    try:
        found = json.loads(places.replay_clock.read_text())
        return {
            str(name): {"speed": float(one["speed"])}
            | {at: datetime.fromisoformat(one[at]) for at in ("wall", "venue")}
            for name, one in found.items()
        }
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def beginning(first: datetime, end: datetime, wall: datetime) -> datetime:
    """The time (UTC) at which the clock begins in a recording of ``[first, end)``, at least a day before its end.

    It is whole weeks before ``wall``, so that hours and weekdays equal those of this machine. If the recording is too
    short for that, it is whole days before ``wall``; if it is shorter still, the middle of the recording.
    """
    latest = end - _DAY
    for step in (7 * _DAY, _DAY):
        begun = wall - -((latest - wall) // step) * step
        if first < begun <= latest:
            return begun
    return first + (end - first) / 2


def _begin(settings: Settings, wall: datetime) -> datetime:
    if settings.replay_source == "generated":
        if settings.replay_stocks is None:
            return wall
        from crypto_pipeline.replay.massive.recorded import recorded_days

        return beginning(*recorded_days(settings.replay_stocks), wall)
    from crypto_pipeline.replay import recorded_span

    return beginning(*recorded_span(Path(settings.replay_source).expanduser()), wall)


def _keep(places: Places, name: str, clock: ReplayClock) -> None:
    new = places.replay_clock.with_suffix(".new")
    new.write_text(json.dumps(_kept(places) | {name: asdict(clock)}, default=datetime.isoformat, indent=1))
    new.replace(places.replay_clock)
