"""Proof that tables and archive files hold the rows that the database has counted, within the spans that are kept."""

from __future__ import annotations

from datetime import datetime

from crypto_pipeline.ops.backups.backup import first_day_of_trades
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive import proof as archive_proof
from crypto_pipeline.store.archive.proof import ArchiveProof
from crypto_pipeline.store.operations.proof_rotation import TableProof

#: Rows that one round reads, which takes some seconds of one processor. Rounds take turns, so that all tables are
#: proven within a few hours.
ROWS_PER_ROUND = 10_000_000
#: Bytes of archive files that one round reads on this machine, and downloads from an object store.
BYTES_PER_ROUND, DOWNLOADED_PER_ROUND = 2_000_000_000, 200_000_000
CHECK = "tables_hold_what_is_counted"
ARCHIVE_CHECK = "archive_files_are_whole"


def prove_tables(
    store: Store, settings: Settings, now: datetime | None = None, rows: int = ROWS_PER_ROUND
) -> TableProof:
    """Prove some tables. The outcome is stored as a check result; its failure opens an alert and shows in
    ``status``.
    """
    now = now or store.clock.now()
    proof = store.table_proofs.round(now, first_day_of_trades(settings, now), rows)
    store.checks.record_result(
        CHECK, None, passed=not proof.faults, severity="critical", summary=said(proof), detail={"faults": proof.faults}
    )
    return proof


def said(proof: TableProof) -> str:
    """The outcome in one sentence for people, with the action to take."""
    if proof.faults:
        more = f" and {len(proof.faults) - 1} more faults" if len(proof.faults) > 1 else ""
        return (
            f"{proof.faults[0]}{more}: stop everything that changes the database, then "
            "`crypto-pipeline restore latest`, which takes the newest good backup"
        )
    oldest = f", the oldest proof from {proof.oldest:%Y-%m-%d %H:%M} UTC" if proof.oldest else ""
    return f"{proof.tables} tables with {proof.rows:,} rows hold the rows counted for them{oldest}"


def prove_archive(
    store: Store, most_bytes: int = BYTES_PER_ROUND, downloaded: int = DOWNLOADED_PER_ROUND
) -> ArchiveProof:
    """Read some archive files again. The outcome is stored as a check result; its failure opens an alert.

    ``most_bytes`` bounds the bytes read on this machine, ``downloaded`` those from an object store.
    """
    proof = archive_proof.prove_in_turn(store.connections, most_bytes, downloaded)
    store.checks.record_result(
        ARCHIVE_CHECK,
        None,
        passed=not proof.faults,
        severity="critical",
        summary=said_of_archive(proof),
        detail={"faults": proof.faults},
    )
    return proof


def said_of_archive(proof: ArchiveProof) -> str:
    """The outcome in one sentence for people."""
    if proof.faults:
        more = f" (and {len(proof.faults) - 1} more files)" if len(proof.faults) > 1 else ""
        return f"{proof.faults[0]}{more}"
    oldest = f", the oldest proof from {proof.oldest:%Y-%m-%d %H:%M} UTC" if proof.oldest else ""
    return f"{proof.proven} of {proof.files} archive files were read again and are intact{oldest}"
