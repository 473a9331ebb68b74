"""Proof of what is stored, every hour: tables against what is counted of them, archive files against their hashes."""

from collections.abc import Sequence

import dagster as dg

from crypto_pipeline.defs.base.check_results import check_result
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import LOW, schedule, tags
from crypto_pipeline.ops.housekeeping import table_proofs
from crypto_pipeline.settings import load_settings


@dg.asset_check(
    asset="coverage",
    name=table_proofs.CHECK,
    description="Every table holds the rows that are counted of it elsewhere: bars by coverage, features and labels by "
    "their cells, trades by the live bars made of them, the archive's catalogue and the ledger by coverage, and every "
    "table by its own index.",
)
def tables_hold_what_is_counted(database: MarketDatabase) -> dg.AssetCheckResult:
    """A damaged file, a lost partition or an emptied day is found here, before somebody reads it."""
    with database.store() as store:
        proof = table_proofs.prove_tables(store, load_settings())
    figures = {"tables_proven": proof.proven, "rows_read": proof.rows_read}
    return _result(table_proofs.CHECK, "coverage", proof.faults, table_proofs.said(proof), figures)


@dg.asset_check(
    asset="bar_archive",
    name=table_proofs.ARCHIVE_CHECK,
    description="Every archive file is what was written, byte for byte; 2 GB are read again each hour, in turn.",
)
def archive_files_are_whole(database: MarketDatabase) -> dg.AssetCheckResult:
    """A flipped bit is found here; `crypto-pipeline archive repair` brings the file back."""
    with database.store() as store:
        proof = table_proofs.prove_archive(store)
    figures = {"files_proven": proof.looked_at, "files": proof.files}
    return _result(
        table_proofs.ARCHIVE_CHECK, "bar_archive", proof.faults, table_proofs.said_of_archive(proof), figures
    )


def _result(
    check: str, asset: str, faults: Sequence[str], summary: str, figures: dict[str, int]
) -> dg.AssetCheckResult:
    metadata = {"faults": len(faults), **figures, "faults_in_words": dg.MetadataValue.json(list(faults))}
    return check_result(check, asset, passed=not faults, severity="critical", summary=summary, metadata=metadata)


prove_stored = dg.define_asset_job(
    "prove_stored",
    selection=dg.AssetSelection.checks(tables_hold_what_is_counted, archive_files_are_whole),
    tags=tags(LOW, "proof"),
    description="Counts rows against what is counted elsewhere, and reads archive files again, some each hour.",
)

proofs_every_hour = schedule(
    "proofs_every_hour",
    prove_stored,
    "17 * * * *",
    "Every hour: proves that tables and archive files hold what they should, a part at a time.",
)
