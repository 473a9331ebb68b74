"""What `up` does about the room on its disk: keeps the reserve, gives it up, stops and starts, and tells people."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum

from crypto_pipeline.ops.host.disk_space import Disk
from crypto_pipeline.ops.housekeeping.storage_report import size_text
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, StoreError

#: Source of the alerts.
SOURCE = "disk_room"
_EVERY, _REMIND = 1.0, 60.0
#: The database is not waited for: what cannot be told now is told at the next look.
_LONGEST_WAIT = 2.0


class Room(StrEnum):
    """How much room there is: plenty, little (a person should make some), only what the reserve held, none."""

    PLENTY = "plenty"
    LITTLE = "little"
    RESERVE_GIVEN_UP = "reserve given up"
    NONE = "none"


class DiskWatch:
    """Looks at the disk of one data directory; the programs on it are the guardian's."""

    def __init__(self, settings: Settings, url: str, say: Callable[[str], None]) -> None:
        self.disk = Disk(settings.data_dir, settings.disk_reserve_mb)
        self._data_dir, self._url, self._say = settings.data_dir, url, say
        #: On the disk of a server of one's own there is nothing that we could stop or start.
        self._ours = settings.database_url is None
        self._looked = 0.0
        self._room = Room.PLENTY
        self._to_tell: Room | None = None

    def look(self) -> bool:
        """Look, if it is time, and act; True when everything must be stopped until there is room."""
        now = time.monotonic()
        if now - self._looked < _EVERY:
            return False
        self._looked = now
        self._change(self._now())
        if self._room is not Room.NONE:
            self._tell()
        return self._room is Room.NONE

    def wait(self, wait: Callable[[float], bool]) -> bool:
        """Wait until there is room; ``wait(seconds)`` says whether to stop waiting. False: told to stop."""
        said = 0.0
        while self.disk.free < self.disk.limits.start:
            if time.monotonic() - said >= _REMIND:
                said = time.monotonic()
                self._say(
                    f"waiting for room: {size_text(self.disk.free)} are free on the disk of {self._data_dir}, "
                    f"{size_text(self.disk.limits.start)} are needed; `crypto-pipeline storage trim` shows what can go"
                )
            if wait(_EVERY):
                return False
        self._say(f"there is room again ({size_text(self.disk.free)}): starting everything")
        # told when the database is there, so that it can be read later
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
        """Keep the state as a check result, whose failure is an alert; again with the next look if that fails."""
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
                return f"{free}: make room, `crypto-pipeline storage trim` shows what can go at once"
            case Room.RESERVE_GIVEN_UP:
                return (
                    f"{free}, and the room kept in reserve was needed: make room now "
                    "(`crypto-pipeline storage trim`), or everything is stopped until there is some"
                )
            case Room.NONE:
                return f"{free}: everything is stopped until there is room, and starts again by itself"
