"""The clock of a replay exchange that does not stand at our time, or the shift of its recording: kept over restarts.

A recording that is not shifted keeps its own dates, so the exchange's clock goes back to them. Like a real venue's it
goes on while nothing runs here; were it to begin again with each start, what is stored would lie in its future.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from crypto_pipeline.ops.host.paths import Places
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ReplayClock:
    """The exchange said ``venue`` when this machine said ``wall``; since then it ran ``speed`` times as fast. UTC."""

    wall: datetime
    venue: datetime
    speed: float

    def at(self, wall: datetime) -> datetime:
        """The exchange's time when this machine's clock shows ``wall``."""
        return self.venue + (wall - self.wall) * self.speed


def own_clock(settings: Settings) -> bool:
    """Whether the replay exchange of these settings has another time than this machine, or will have."""
    recorded = settings.replay_source != "generated" and not settings.replay_shift_to_now
    return settings.venue == "replay" and (recorded or settings.replay_now is not None or settings.replay_speed != 1.0)


def replay_clock(settings: Settings, places: Places, wall: datetime | None = None) -> ReplayClock | None:
    """The clock that the exchange of this deployment has, begun now if it never ran; None where it shows our time.

    Raises ReplayError where the recording cannot be read.
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
    """When the recording was first moved to now; None where it is not moved.

    Moved anew a week later, it would say other prices of the days that are stored.
    """
    if settings.replay_source == "generated" or not settings.replay_shift_to_now:
        return None
    name = f"{settings.replay_source} shifted"
    kept = _kept(places).get(name)
    if kept is not None:
        return ReplayClock(**kept).wall
    _keep(places, name, ReplayClock(wall, wall, settings.replay_speed))
    return wall


def tell(settings: Settings, places: Places, store: Store) -> None:
    """Tell the database at once what the exchange's clock shows, so that nothing goes by another before it answers."""
    wall = datetime.now(UTC)
    clock = replay_clock(settings, places, wall)
    if clock is not None:
        store.clock.learn(settings.venue, clock.at(wall), clock.speed)


def known_clock(settings: Settings, places: Places) -> ReplayClock | None:
    """The clock of these settings' exchange as it was kept; None where it never ran."""
    kept = _kept(places).get(_name(settings))
    return None if kept is None else ReplayClock(**kept)


def _name(settings: Settings) -> str:
    """Another recording, or another time that was asked for, is another clock."""
    asked = "" if settings.replay_now is None else f" from {settings.replay_now.astimezone(UTC).isoformat()}"
    return f"{settings.replay_source}{asked}"


def _kept(places: Places) -> dict[str, dict[str, Any]]:
    """All clocks by their names. A file that is not ours is written anew."""
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
    """Where the clock begins in a recording of ``[first, end)``: at least a day is left to be played.

    Whole weeks before ``wall``, so that days, hours and weekdays are those of this machine; whole days where the
    recording is too short for that, the middle of it where it is shorter still.
    """
    latest = end - _DAY
    for step in (7 * _DAY, _DAY):
        begun = wall - -((latest - wall) // step) * step
        if first < begun <= latest:
            return begun
    return first + (end - first) / 2


def _begin(settings: Settings, wall: datetime) -> datetime:
    if settings.replay_source == "generated":
        return wall
    from crypto_pipeline.replay import recorded_span

    return beginning(*recorded_span(Path(settings.replay_source).expanduser()), wall)


def _keep(places: Places, name: str, clock: ReplayClock) -> None:
    new = places.replay_clock.with_suffix(".new")
    new.write_text(json.dumps(_kept(places) | {name: asdict(clock)}, default=datetime.isoformat, indent=1))
    new.replace(places.replay_clock)
