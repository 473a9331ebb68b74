"""Proof of what is stored, every hour: tables against what is counted of them, archive files against their hashes."""

from typing import Any

import dagster as dg

from crypto_pipeline.defs.jobs import LOW, schedule, tags
from crypto_pipeline.defs.resources import Market
from crypto_pipeline.ops.housekeeping import table_proofs
from crypto_pipeline.settings import load_settings


@dg.asset_check(
    asset="coverage",
    name=table_proofs.CHECK,
    description="Every table holds the rows that are counted of it elsewhere: bars by coverage, features and labels by "
    "their cells, trades by the live bars made of them, the archive's catalogue and the ledger by coverage, and every "
    "table by its own index.",
)
def tables_hold_what_is_counted(database: Market) -> dg.AssetCheckResult:
    """A damaged file, a lost partition or an emptied day is found here, and not when somebody reads it."""
    with database.store() as store:
        proof = table_proofs.prove_tables(store, load_settings())
    return dg.AssetCheckResult(
        passed=not proof.faults,
        severity=dg.AssetCheckSeverity.ERROR,
        description=table_proofs.said(proof),
        metadata={
            "faults": len(proof.faults),
            "tables_proven": proof.proven,
            "rows_read": proof.rows_read,
            "faults_in_words": dg.MetadataValue.json(proof.faults),
        },
    )


@dg.asset_check(
    asset="bar_archive",
    name=table_proofs.ARCHIVE_CHECK,
    description="Every archive file is what was written, byte for byte; 2 GB are read again each hour, in turn.",
)
def archive_files_are_whole(database: Market) -> dg.AssetCheckResult:
    """A flipped bit is found here; `crypto-pipeline archive repair` brings the file back."""
    with database.store() as store:
        proof = table_proofs.prove_archive(store)
    return dg.AssetCheckResult(
        passed=not proof.faults,
        severity=dg.AssetCheckSeverity.ERROR,
        description=table_proofs.said_of_archive(proof),
        metadata={
            "faults": len(proof.faults),
            "files_proven": proof.looked_at,
            "files": proof.files,
            "faults_in_words": dg.MetadataValue.json(proof.faults),
        },
    )


prove_stored = dg.define_asset_job(
    "prove_stored",
    selection=dg.AssetSelection.checks(tables_hold_what_is_counted, archive_files_are_whole),
    tags=tags(LOW, "proof"),
    description="Counts rows against what is counted elsewhere, and reads archive files again, some each hour.",
)

PROOF_CHECKS = [tables_hold_what_is_counted, archive_files_are_whole]
PROOF_JOBS: list[Any] = [prove_stored]
PROOF_SCHEDULES = [
    schedule(
        "proofs_every_hour",
        prove_stored,
        "17 * * * *",
        "Every hour: proves that tables and archive files hold what they should, a part at a time.",
    )
]
