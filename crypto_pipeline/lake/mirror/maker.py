"""One run of the mirror: it removes what an interrupted run left, makes what is due, deletes what nobody reads.

A run may be killed at any moment and be repeated. Readers never see a file before all of it was read back.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from crypto_pipeline.lake.mirror import ownership
from crypto_pipeline.lake.mirror.writer import MadeFile, MirrorWriter
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.database.sessions.exclusive import exclusively
from crypto_pipeline.store.mirror import catalogue, cells, looks
from crypto_pipeline.store.mirror.cells import DueFile
from crypto_pipeline.store.mirror.datasets import MirrorSeries
from crypto_pipeline.store.mirror.looks import MirrorLook, MirrorMoment

log = logging.getLogger(__name__)

Progress = Callable[[str], object]
_LOCK = 0x6D697272  # "mirr"


@dataclass(slots=True)
class MirrorReport:
    """Result of a run: ``made`` files, ``failed`` ones in words, the number of files that are ``left`` for the next
    run, of days that left the mirror (``gone``), and of ``removed`` files; ``seconds`` of the run.

    ``behind``: the first day of the oldest file that was not made; None: every closed day is mirrored.
    """

    made: list[MadeFile] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    left: int = 0
    gone: int = 0
    removed: int = 0
    behind: date | None = None
    seconds: float = 0.0

    def miss(self, files: Sequence[DueFile]) -> None:
        """Note files that were not made."""
        days = [file.span.first_day for file in files]
        self.behind = min(days if self.behind is None else [self.behind, *days])

    def as_dict(self) -> dict[str, float]:
        """The figures, for metadata."""
        return {
            "files": len(self.made),
            "cells": sum(one.cells for one in self.made),
            "rows": sum(one.rows for one in self.made),
            "bytes": sum(one.bytes for one in self.made),
            "left": self.left,
            "cells_gone": self.gone,
            "files_removed": self.removed,
            "seconds": round(self.seconds, 3),
        }


class MirrorMaker:
    """Makes the mirror of a store in ``storage``; ``scratch`` is a folder that nothing else uses, on the same file
    system if ``storage`` is a folder.
    """

    def __init__(self, store: Store, storage: ArchiveStorage, scratch: Path) -> None:
        self._store, self._storage, self._scratch = store, storage, scratch
        self._writer = MirrorWriter(store, storage, scratch)

    def run(
        self,
        now: datetime | None = None,
        *,
        most_seconds: float = float("inf"),
        take_over: bool = False,
        whole: bool = False,
        progress: Progress = log.info,
    ) -> MirrorReport:
        """Bring the mirror up to date with the tables at ``now`` (UTC; default: the market's time).

        It looks at what changed since the last run, and once a day, or with ``whole``, at all that is stored.
        After ``most_seconds`` the rest is left for the next run. Raises StoreError when another run is active or the
        folder belongs to another database, and at the end for files that failed; one that failed stops no other.
        """
        clock = time.monotonic()
        report = MirrorReport()
        moment = MirrorMoment(now or self._store.clock.now(), self._storage.url)
        with exclusively(self._store.connections, _LOCK, "mirror"):
            self._recover(take_over)
            found = [self._look(of, moment, whole, report) for of in self.series()]
            if report.gone:
                self._store.connections.run(catalogue.retire_empty)
            for look in found:
                self._make(look, moment, clock + most_seconds, report, progress)
            report.removed = self._remove(whole=any(look.since is None for look in found))
        report.seconds = time.monotonic() - clock
        if report.failed:
            raise StoreError("; ".join(report.failed))
        return report

    def series(self) -> list[MirrorSeries]:
        """All series that are mirrored: bars from narrow to wide, features, labels."""
        bars = [MirrorSeries.of_bars(timeframe) for timeframe in Timeframe]
        return [*bars, MirrorSeries("features"), *self._store.connections.run(cells.label_series)]

    def due(self, now: datetime | None = None) -> list[DueFile]:
        """All files that are to be made."""
        moment = MirrorMoment(now or self._store.clock.now(), self._storage.url)
        return [one for of in self.series() for one in self._store.connections.run(cells.due, of, moment)]

    def drop(self) -> int:
        """Take every file out of use and delete it at once; return the number of files. Reads go to the tables.

        A file that an Iceberg table lists stays until ``tidy`` finds that its snapshots have expired. The folder goes
        with the last file.
        """
        with exclusively(self._store.connections, _LOCK, "mirror"):
            self._recover(take_over=False)
            self._store.connections.run(catalogue.retire_all)
            gone = self._remove(grace_seconds=0)
            ownership.leave(self._storage)
            return gone

    def tidy(self) -> int:
        """Delete files that nobody reads any more, and make none: for a mirror that is off. Return their number."""
        retired = ("written", "verified", "retired")
        if not self._store.connections.run(catalogue.find, None, None, None, retired):
            return 0
        with exclusively(self._store.connections, _LOCK, "mirror"):
            self._recover(take_over=False)
            gone = self._remove()
            ownership.leave(self._storage)
            return gone

    def _recover(self, take_over: bool) -> None:
        """Remove what an interrupted run left; readers never used it."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        ownership.claim(self._store.connections, self._storage, by_force=take_over)
        self._store.connections.run(catalogue.abandon)
        self._storage.sweep()

    def _look(self, of: MirrorSeries, moment: MirrorMoment, whole: bool, report: MirrorReport) -> MirrorLook:
        """The look at a series, after days that left their table have left the mirror."""
        run = self._store.connections.run
        look = run(looks.begin, of, moment, whole=whole)
        gone = run(cells.remove_gone, of, moment, look)
        report.gone += gone
        # files of which days are gone are made again, whichever days those are
        return look if not gone else run(looks.begin, of, moment, whole=True)

    def _make(
        self, look: MirrorLook, moment: MirrorMoment, until: float, report: MirrorReport, progress: Progress
    ) -> None:
        run = self._store.connections.run
        found: Sequence[DueFile] = run(cells.due, look.of, moment, look)
        whole = True
        for number, due in enumerate(found):
            if time.monotonic() >= until:
                report.left += len(found) - number
                report.miss(found[number:])
                return
            try:
                made = self._writer.make(due.span, moment)
            except StoreError as error:
                report.failed.append(f"{due.span}: {error}")
                progress(report.failed[-1])
                report.miss([due])
                whole = False
                continue
            if made is None:
                report.left += 1
                report.miss([due])
            else:
                report.made.append(made)
                progress(f"{due.span}: {made.rows:,} rows in {made.bytes:,} bytes")
            whole = whole and made is not None and made.whole
        if whole:
            run(looks.note, look)

    def _remove(self, grace_seconds: float = catalogue.GRACE_SECONDS, *, whole: bool = True) -> int:
        """Delete files that no reader can use any more, and with ``whole`` files that the catalogue does not know."""
        gone = self._store.connections.run(catalogue.removable, grace_seconds)
        for file in gone:
            if file.base_url == self._storage.url:
                self._storage.delete(file.path)
            else:
                self._delete_elsewhere(file.base_url, file.path)
            self._store.connections.run(catalogue.forget, file.file_id)
        return len(gone) + (ownership.remove_unknown(self._store, self._storage) if whole else 0)

    def _delete_elsewhere(self, base_url: str, path: str) -> None:
        """Delete a file in a folder that the mirror used before, if it is still this database's."""
        storage = ArchiveStorage(base_url)
        try:
            if ownership.owner_of(storage) == self._store.connections.run(catalogue.owner):
                storage.delete(path)
        except StoreError as error:
            log.warning("%s stays: %s", f"{base_url}/{path}", error)
