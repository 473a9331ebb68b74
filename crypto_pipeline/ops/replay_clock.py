"""The clock of a replay exchange that does not stand at our time: where it began, kept over restarts.

A recording that is not shifted keeps its own dates, so the exchange's clock goes back to them. Like a real venue's it
goes on while nothing runs here; were it to begin again with each start, what is stored would lie in its future.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from crypto_pipeline.ops.places import Places
from crypto_pipeline.settings import Settings

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ReplayClock:
    """The exchange said ``venue`` when this machine said ``wall``; since then it ran ``speed`` times as fast. UTC."""

    source: str
    asked: str | None
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
    asked = None if settings.replay_now is None else settings.replay_now.astimezone(UTC).isoformat()
    kept = known_clock(places)
    if kept is not None and (kept.source, kept.asked) == (settings.replay_source, asked):
        if kept.speed == settings.replay_speed:
            return kept
        begun = kept.at(wall)
    else:
        begun = settings.replay_now or _begin(settings, wall)
    clock = ReplayClock(settings.replay_source, asked, wall, begun.astimezone(UTC), settings.replay_speed)
    _keep(places.replay_clock, clock)
    return clock


def known_clock(places: Places) -> ReplayClock | None:
    """The clock as it was kept; None where there is none."""
    try:
        found = json.loads(places.replay_clock.read_text())
        times = {name: datetime.fromisoformat(found[name]) for name in ("wall", "venue")}
        return ReplayClock(**{**found, **times})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        return None  # a file that is not ours: it is written anew


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


def _keep(file: Path, clock: ReplayClock) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(asdict(clock), default=datetime.isoformat))
    new.replace(file)
