"""Proof that files of the mirror are intact: those that a reader suspects at once, all others in turn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.archive.catalogue import sha256
from crypto_pipeline.store.archive.object_store import ArchiveStorage, local_path
from crypto_pipeline.store.mirror import catalogue
from crypto_pipeline.store.mirror.catalogue import MirrorFile


@dataclass(frozen=True, slots=True)
class MirrorProof:
    """State of all files: ``faults`` in words (of the last hour), the number of ``files`` in use, of ``proven`` ones,
    of files that this round ``looked_at``, and the time of the ``oldest`` proof (UTC).
    """

    faults: list[str]
    looked_at: int
    proven: int
    files: int
    oldest: datetime | None


def prove_in_turn(store: Store, most_bytes: int, most_downloaded: int) -> MirrorProof:
    """Hash files in use: those that readers suspect, then those with the oldest proof.

    Whole files are read, up to about ``most_bytes`` on this machine and ``most_downloaded`` from object stores. The
    days of a damaged or missing file are read from the table from then on, until it is made again.
    """
    run = store.connections.run
    files = run(catalogue.find)
    files.sort(key=_turn)
    left = {True: most_bytes, False: most_downloaded}
    looked_at = 0
    for file in files:
        here = local_path(file.base_url) is not None
        if left[here] <= 0 and file.suspected_at is None:
            continue
        left[here] -= file.bytes
        looked_at += 1
        fault = examine(file)
        if fault is None:
            run(catalogue.note_proven, file.file_id)
        else:
            run(catalogue.condemn, file.file_id, fault)
    standing = run(catalogue.find)
    retired = run(catalogue.find, None, None, None, ("retired",))
    proofs = [file.proven_at or file.verified_at for file in standing]
    return MirrorProof(
        [file.fault for file in retired if file.fault is not None],
        looked_at,
        sum(file.proven_at is not None for file in standing),
        len(standing),
        min((at for at in proofs if at is not None), default=None),
    )


def _turn(file: MirrorFile) -> tuple[bool, bool, datetime, int]:
    """Sort key: suspected files, then those that were never proven, then by the time of the proof."""
    return file.suspected_at is None, file.proven_at is not None, file.proven_at or file.created_at, file.file_id


def examine(file: MirrorFile) -> str | None:
    """Read all of a file; return its fault in words, None if it is as it was written."""
    try:
        with ArchiveStorage(file.base_url).fetched(file.path) as path:
            found = sha256(path)
    except (StoreError, OSError) as error:
        return f"file {file.url} of the mirror cannot be read: {error}"
    if found == file.sha256:
        return None
    return f"file {file.url} of the mirror is damaged: its SHA-256 is {found}, not {file.sha256}"
