"""Damaged archive files brought back, from backups first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from crypto_pipeline.ops.backup import backup_dir
from crypto_pipeline.ops.backup_files import ARCHIVE
from crypto_pipeline.ops.retention import open_retention
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, archive_proof, archive_repair
from crypto_pipeline.store.archive_catalogue import ArchiveFile

Say = Callable[[str], None]


def find_damaged(store: Store, files: Sequence[ArchiveFile], say: Say) -> list[ArchiveFile]:
    """Read all of the files again; those that are not what was written, each said."""
    found = []
    for file in files:
        fault = archive_proof.examine(file)
        archive_proof.note(store.connections, file, fault)
        if fault is not None:
            say(fault)
            found.append(file)
    return found


def repair_from_backups(
    store: Store, settings: Settings, damaged: Sequence[ArchiveFile], say: Say
) -> list[ArchiveFile]:
    """Put the copies that backups have in the place of damaged files; those of which no backup has a good one."""
    pool = backup_dir(settings) / ARCHIVE
    left = []
    for file in damaged:
        if archive_repair.replace(store.connections, file, pool / file.path):
            say(f"{file.url} is whole again, from the backups in {backup_dir(settings)}")
        else:
            left.append(file)
    return left


def give_up(store: Store, settings: Settings, files: Sequence[ArchiveFile], say: Say) -> list[ArchiveFile]:
    """Let go of damaged files so that their bars are fetched again; those of bars, whose spans are to be filled."""
    with open_retention(store, settings).alone():
        for file in files:
            archive_repair.give_up(store.connections, file)
            lost = "earlier copies of bars, which no venue states, are lost" if file.kind == "revisions" else (
                "its bars are to be fetched again"
            )  # fmt: skip
            say(f"{file.url} is given up: {lost}")
    return [file for file in files if file.kind == "bars"]
