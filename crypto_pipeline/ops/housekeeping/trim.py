"""Freeing disk space at once: what can be deleted without losing a bar, the least useful first.

Bars are never deleted here. Only retention removes them, after it has archived and verified them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from crypto_pipeline.ops.backups import files
from crypto_pipeline.ops.backups.files import backup_dir
from crypto_pipeline.ops.host import disk_space
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store

#: Days of trades that stay: trades of the last two days fill gaps of live bars; older ones only confirm stored bars.
_TRADES_STAY = timedelta(days=1)


@dataclass(frozen=True)
class Step:
    """One deletion: what is deleted, the bytes that frees, what is lost with it, and the function that does it."""

    what: str
    bytes: int
    lost: str
    act: Callable[[], None]


def plan(settings: Settings, store: Store | None) -> list[Step]:
    """List what can be deleted now, the least useful first. Nothing is changed. Without a ``store``: files only."""
    steps = [*_reserve(settings), *_replaced_databases(settings), *_old_backups(settings)]
    steps += _old_trades(store) if store is not None else []
    return [step for step in steps if step.bytes > 0]


def trim(steps: list[Step], say: Callable[[str], None]) -> int:
    """Do the steps; return the freed bytes."""
    for step in steps:
        step.act()
        say(f"removed: {step.what}")
    return sum(step.bytes for step in steps)


def _reserve(settings: Settings) -> list[Step]:
    """The reserve file, only while space is low: otherwise the disk watch would make it again at once."""
    there = disk_space.Disk(settings.data_dir, settings.disk_reserve_mb)
    if there.free >= there.limits.start:
        return []
    return [Step("reserve file", there.reserved, "nothing; it is made again when there is enough space",
                 lambda: _give_up(there))]  # fmt: skip


def _give_up(there: disk_space.Disk) -> None:
    there.give_up_reserve()


def _replaced_databases(settings: Settings) -> list[Step]:
    return [
        Step(f"database that a restore has replaced, {path.name}", _size(path), "the database from before the restore",
             lambda path=path: shutil.rmtree(path))  # type: ignore[misc]
        for path in sorted(settings.data_dir.glob("postgres.before-*"))
    ]  # fmt: skip


def _old_backups(settings: Settings) -> list[Step]:
    folder = backup_dir(settings)
    done = files.complete(folder)
    stay = files.staying(done, 1)
    old = [one for one in done if one not in stay]
    if not old:
        return []
    size = sum(_size(one.folder) for one in old)
    return [
        Step(f"backups except the newest good one ({len(old)})", size, "older copies", lambda: _keep_newest(folder))
    ]


def _keep_newest(folder: Path) -> None:
    files.prune(folder, 1)


def _old_trades(store: Store) -> list[Step]:
    first = (store.clock.now() - _TRADES_STAY).date()
    size = store.storage.trade_bytes_before(first)
    return [Step(f"trades before {first}", size, "trades; bars stay", lambda: _drop_trades(store, first))]


def _drop_trades(store: Store, first: date) -> None:
    store.trades.drop_before(first)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
