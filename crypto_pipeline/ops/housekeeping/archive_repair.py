"""Repair of damaged archive files: from a backup if one has a good copy, else by fetching their bars again."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from crypto_pipeline.healing import Pipeline
from crypto_pipeline.market.gaps.arithmetic import merge_spans
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.backups.files import ARCHIVE, backup_dir
from crypto_pipeline.ops.housekeeping.retention import open_retention
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive import proof, repair
from crypto_pipeline.store.archive.catalogue import ArchiveFile
from crypto_pipeline.store.archive.object_store import local_path

Say = Callable[[str], None]


def find_damaged(store: Store, files: Sequence[ArchiveFile], say: Say) -> list[ArchiveFile]:
    """Read all ``files`` again; return the damaged ones, and report each by ``say``."""
    found = []
    for file in files:
        fault = proof.examine(file)
        proof.note(store.connections, file, fault)
        if fault is not None:
            say(fault)
            found.append(file)
    return found


def repair_from_backups(
    store: Store, settings: Settings, damaged: Sequence[ArchiveFile], say: Say
) -> list[ArchiveFile]:
    """Replace damaged files by good copies from backups; return the files of which no backup has a good copy."""
    pool = backup_dir(settings) / ARCHIVE
    left = []
    for file in damaged:
        if repair.replace(store.connections, file, pool / file.path):
            say(f"{file.url} is whole again, from the backups in {backup_dir(settings)}")
        else:
            left.append(file)
    return left


@dataclass(frozen=True, slots=True)
class FromVenue:
    """Result of a repair from the venue: files that stay damaged, and ledger rows of bars that are still missing."""

    left: list[ArchiveFile]
    missing: pl.DataFrame


async def repair_from_venue(store: Store, settings: Settings, files: Sequence[ArchiveFile], say: Say) -> FromVenue:
    """Detach files that no backup can replace, and get their bars again: by roll-up, or from the venue.

    Continues the work of an earlier call that was interrupted. No file is detached while the venue does not answer
    (VenueError). Damaged files of trades stay in the catalogue: no venue sends those trades again.
    """
    left = [file for file in files if file.kind == "trades"]
    async with Pipeline.open(store, settings) as pipeline:
        await pipeline.horizon()
        await asyncio.to_thread(_give_up, store, settings, [file for file in files if file not in left], say)
        for timeframe in Timeframe:  # the narrowest first: wider bars are rolled up from them
            rows = repair.given_up(store.ledger, store.symbols, timeframe)
            if rows.height:
                report = await pipeline.bring_back(timeframe, merge_spans(rows.select("instrument", "start", "end")))
                for name, problem in report.problems.items():
                    say(f"{name}: {problem}")
                say(f"{timeframe}: bars of {rows['note'].n_unique()} files were requested again")
    missing = repair.given_up(store.ledger, store.symbols)
    for row in missing.iter_rows(named=True):
        because = json.loads(row["evidence"]).get("because", "nothing explains it")
        span = f"{row['start']:%Y-%m-%dT%H:%M:%SZ} to {row['end']:%Y-%m-%dT%H:%M:%SZ}"
        say(f"{row['instrument']} {row['timeframe']} {span}: {row['bars']} bars could not be fetched again: {because}")
    return FromVenue(left, missing)


def _give_up(store: Store, settings: Settings, files: Sequence[ArchiveFile], say: Say) -> None:
    with open_retention(store, settings).exclusive():
        for file in files:
            _set_aside(settings, file, say)
            if file.kind == "bars":
                repair.write_down(store.coverage, store.ledger, store.symbols, file)
            repair.give_up(store.connections, file)
            lost = "earlier copies of bars are lost, because no venue sends them" if file.kind == "revisions" else (
                "its bars are fetched again"
            )  # fmt: skip
            say(f"{file.url} is given up: {lost}")


def _set_aside(settings: Settings, file: ArchiveFile, say: Say) -> None:
    """Rename a damaged local file: retention would later delete it at its old path."""
    path = local_path(file.url)
    if path is None or not path.is_file():
        return
    target = settings.data_dir / "damaged" / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    say(f"the damaged file {file.path} is kept as {target}")
