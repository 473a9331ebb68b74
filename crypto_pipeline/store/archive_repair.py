"""Bringing an archive file back: by a copy that is proven, or by letting its span go so that it is fetched again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from crypto_pipeline.store import archive_proof, archive_switch
from crypto_pipeline.store.archive_catalogue import ArchiveFile
from crypto_pipeline.store.archive_hash import sha256
from crypto_pipeline.store.archive_spans import Span
from crypto_pipeline.store.archive_storage import ArchiveStorage
from crypto_pipeline.store.errors import StoreError
from crypto_pipeline.store.pool import Connections

_RETIRE = """
UPDATE market.archive_files SET status = 'retired', retired_at = clock_timestamp()
WHERE archive_id = %s AND status = 'current'
"""
# What lay in the file alone is missing from now on, and is fetched again.
_MISSING = """
UPDATE market.coverage
SET present = present - archived, archived = 0, data_version = nextval('market.data_version'), updated_at = now(),
    final = expected > 0 AND present - archived + explained >= expected
WHERE timeframe = %(timeframe)s AND day >= %(first)s AND day < %(until)s AND archived > 0
"""


def replace(connections: Connections, file: ArchiveFile, copy: Path) -> bool:
    """Put ``copy`` in the place of a damaged file. False, and nothing done, where that is no better."""
    if not copy.is_file() or sha256(copy) != file.sha256:
        return False
    ArchiveStorage(file.base_url).replace(file.path, copy)
    fault = archive_proof.examine(file)
    archive_proof.note(connections, file, fault)
    return fault is None


def give_up(connections: Connections, file: ArchiveFile) -> None:
    """Take a damaged file out of the catalogue. Bars that lay in it alone count as missing from then on.

    For the one holder of retention's lock. Raises StoreError for trades, which no venue states again.
    """
    if file.kind == "trades":
        raise StoreError(f"{file.url} holds trades, which cannot be fetched again: restore a backup that has it")
    archive_switch.patiently(connections, Span(file.timeframe, file.first_open, file.end_open), _give_up, file)


def _give_up(connection: psycopg.Connection[Any], file: ArchiveFile) -> None:
    span = Span(file.timeframe, file.first_open, file.end_open)
    archive_switch.hold(connection, span)
    connection.execute(_RETIRE, [file.archive_id])
    if file.kind == "bars":
        connection.execute(_MISSING, span.values())
