"""Proof that what is stored is what is counted, by what the settings say is kept."""

from __future__ import annotations

from datetime import datetime

from crypto_pipeline.ops.backups.backup import first_day_of_trades
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive import proof as archive_proof
from crypto_pipeline.store.archive.proof import ArchiveProof
from crypto_pipeline.store.operations.proof_rotation import TableProof

#: Rows that one round reads: some seconds of one processor. Larger tables take turns, so all are proven in a few hours.
ROWS_PER_ROUND = 10_000_000
#: Bytes of archive files that one round reads on this machine, and downloads from an object store.
BYTES_PER_ROUND, DOWNLOADED_PER_ROUND = 2_000_000_000, 200_000_000
CHECK = "tables_hold_what_is_counted"
ARCHIVE_CHECK = "archive_files_are_whole"


def prove_tables(
    store: Store, settings: Settings, now: datetime | None = None, rows: int = ROWS_PER_ROUND
) -> TableProof:
    """One round of proof. Its outcome is kept as a check result, whose failure is an alert and shows in ``status``."""
    now = now or store.clock.now()
    proof = store.table_proofs.round(now, first_day_of_trades(settings, now), rows)
    store.checks.record_result(
        CHECK, None, passed=not proof.faults, severity="critical", summary=said(proof), detail={"faults": proof.faults}
    )
    return proof


def said(proof: TableProof) -> str:
    """The outcome in one sentence for people, with what to do about it."""
    if proof.faults:
        more = f" and {len(proof.faults) - 1} more faults" if len(proof.faults) > 1 else ""
        return (
            f"{proof.faults[0]}{more}: stop everything that changes the database, then "
            "`crypto-pipeline restore latest`, which takes the newest backup that was right"
        )
    oldest = f", the oldest proof from {proof.oldest:%Y-%m-%d %H:%M} UTC" if proof.oldest else ""
    return f"{proof.tables} tables with {proof.rows:,} rows hold what is counted of them{oldest}"


def prove_archive(
    store: Store, most_bytes: int = BYTES_PER_ROUND, downloaded: int = DOWNLOADED_PER_ROUND
) -> ArchiveProof:
    """One round of proof of archive files, kept as a check result likewise."""
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
    return f"{proof.proven} of {proof.files} archive files were read again and are what was written{oldest}"
