"""Disk watch of `up`: keeps the reserve file, deletes it when space is low, stops and starts programs, opens alerts."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum

from crypto_pipeline.ops.host.disk_space import Disk, size_text
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, StoreError

#: Source of the alerts.
SOURCE = "disk_room"
_EVERY, _REMIND = 1.0, 60.0
#: Short timeouts: when the database does not answer now, the next check stores the result.
_LONGEST_WAIT = 2.0


class Room(StrEnum):
    """Level of free space: enough, low (a person should free some), only the former reserve, none."""

    PLENTY = "plenty"
    LITTLE = "little"
    RESERVE_GIVEN_UP = "reserve given up"
    NONE = "none"


class DiskWatch:
    """Checks the disk of one data directory. The guardian stops and starts the programs."""

    def __init__(self, settings: Settings, url: str, say: Callable[[str], None]) -> None:
        self.disk = Disk(settings.data_dir, settings.disk_reserve_mb)
        self._data_dir, self._url, self._say = settings.data_dir, url, say
        #: False for a server that is not embedded: we can neither stop nor start it.
        self._ours = settings.database_url is None
        self._looked = 0.0
        self._room = Room.PLENTY
        self._to_tell: Room | None = None

    def look(self) -> bool:
        """Check the disk if the interval has passed, and act; True when everything must be stopped."""
        now = time.monotonic()
        if now - self._looked < _EVERY:
            return False
        self._looked = now
        self._change(self._now())
        if self._room is not Room.NONE:
            self._tell()
        return self._room is Room.NONE

    def wait(self, wait: Callable[[float], bool]) -> bool:
        """Wait until there is enough space. ``wait(seconds)`` returns True to stop waiting; then the result is
        False.
        """
        said = 0.0
        while self.disk.free < self.disk.limits.start:
            if time.monotonic() - said >= _REMIND:
                said = time.monotonic()
                self._say(
                    f"waiting for room: {size_text(self.disk.free)} are free on the disk of {self._data_dir}, "
                    f"{size_text(self.disk.limits.start)} are needed; `crypto-pipeline storage trim` frees some"
                )
            if wait(_EVERY):
                return False
        self._say(f"there is room again ({size_text(self.disk.free)}): starting everything")
        # stored once the database runs, so that people can read it later
        self._room = self._to_tell = Room.RESERVE_GIVEN_UP
        return True

    def _now(self) -> Room:
        limits = self.disk.limits
        if self._ours and self.disk.free < limits.stop:
            self.disk.give_up_reserve()
            return Room.NONE if self.disk.free < limits.stop else Room.RESERVE_GIVEN_UP
        if self._ours and not self.disk.keep_reserve():
            return Room.RESERVE_GIVEN_UP
        return Room.LITTLE if self.disk.free < limits.warn else Room.PLENTY

    def _change(self, room: Room) -> None:
        if room is not self._room:
            self._room = self._to_tell = room
            self._say(self._summary(room))

    def _tell(self) -> None:
        """Store the state as a check result, whose failure opens an alert; the next check retries if that fails."""
        if self._to_tell is None:
            return
        severity = "warning" if self._to_tell is Room.LITTLE else "critical"
        try:
            with Store(self._url, connections=1, patience=_LONGEST_WAIT) as store:
                store.checks.record_result(
                    SOURCE,
                    None,
                    passed=self._to_tell is Room.PLENTY,
                    severity=severity,
                    summary=self._summary(self._to_tell),
                    detail={"free": self.disk.free, "reserve": self.disk.reserved},
                )
        except StoreError:
            return
        self._to_tell = None

    def _summary(self, room: Room) -> str:
        free = f"{size_text(self.disk.free)} are free on the disk of {self._data_dir}"
        match room:
            case Room.PLENTY:
                return free
            case Room.LITTLE:
                return f"{free}: free some space, `crypto-pipeline storage trim` lists what it can delete at once"
            case Room.RESERVE_GIVEN_UP:
                return (
                    f"{free}, and the reserve file was deleted: free space now "
                    "(`crypto-pipeline storage trim`), or everything is stopped until there is some"
                )
            case Room.NONE:
                return f"{free}: everything is stopped until there is enough, and then starts again by itself"
