"""The mirror of a deployment: where it is, bringing it up to date, proving its files, and what it takes on the disk."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from crypto_pipeline.lake.mirror import proof as mirror_proof
from crypto_pipeline.lake.mirror.maker import MirrorMaker, MirrorReport
from crypto_pipeline.lake.mirror.proof import MirrorProof
from crypto_pipeline.settings import Settings
from crypto_pipeline.store import Store, StoreError
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.mirror import catalogue

#: Names of the checks.
FILES_CHECK, FRESH_CHECK = "mirror_files", "mirror_fresh"
NOT_WANTED = "the mirror is off (CRYPTO_PIPELINE_MIRROR)"
#: Seconds of one run; the next one goes on.
RUN_SECONDS = 1200.0
#: Bytes of files that one round hashes on this machine, and downloads from an object store.
BYTES_PER_ROUND, DOWNLOADED_PER_ROUND = 1_000_000_000, 100_000_000


def mirror_url(settings: Settings) -> str:
    """Folder or URL of the mirror."""
    return settings.mirror_url or str(settings.data_dir / "mirror")


def open_mirror(store: Store, settings: Settings) -> MirrorMaker:
    """What makes the mirror of a store under ``settings``. Raises StoreError for an unsupported URL."""
    return MirrorMaker(store, ArchiveStorage(mirror_url(settings)), settings.data_dir / "scratch" / "mirror")


def note_setting(store: Store, settings: Settings) -> None:
    """Let all reads of the database use the mirror, or the tables alone, as the deployment's setting says."""
    store.connections.run(catalogue.set_in_use, settings.mirror)


def leave_mirror(store: Store, settings: Settings) -> int:
    """What a run does while the mirror is off: reads leave it, and files that were dropped go. Their number.

    The outcome is stored as a check result. Raises StoreError.
    """
    note_setting(store, settings)
    _record(store, FRESH_CHECK, NOT_WANTED, passed=True, severity="warning")
    return open_mirror(store, settings).tidy()


def drop_mirror(store: Store, settings: Settings) -> tuple[int, int]:
    """Delete the mirror; return the number of deleted files, and of those that Iceberg tables list for a while."""
    note_setting(store, settings)
    gone = open_mirror(store, settings).drop()
    return gone, len(store.connections.run(catalogue.find, None, None, None, ("retired",)))


def make_mirror(
    store: Store,
    settings: Settings,
    *,
    take_over: bool = False,
    whole: bool = False,
    most_seconds: float = RUN_SECONDS,
    progress: Callable[[str], object] = lambda text: None,
) -> MirrorReport:
    """Bring the mirror up to date. The outcome is stored as a check result; its failure opens an alert.

    It looks at what changed since the last run, with ``whole`` at all that is stored. A folder in the data directory
    belongs to this deployment, whoever used it before. Raises StoreError.
    """
    note_setting(store, settings)
    take_over = take_over or settings.mirror_url is None
    try:
        report = open_mirror(store, settings).run(
            most_seconds=most_seconds, take_over=take_over, whole=whole, progress=progress
        )
    except StoreError as error:
        _record(store, FRESH_CHECK, str(error), passed=False, severity="warning")
        raise
    _record(store, FRESH_CHECK, fresh_text(report), passed=not report.left, severity="warning")
    return report


def prove_mirror(store: Store, settings: Settings) -> MirrorProof | None:
    """Hash some files again; None if the mirror is off. The outcome is stored as a check result."""
    if not settings.mirror:
        _record(store, FILES_CHECK, NOT_WANTED, passed=True, severity="error")
        return None
    proof = mirror_proof.prove_in_turn(store, BYTES_PER_ROUND, DOWNLOADED_PER_ROUND)
    _record(store, FILES_CHECK, files_text(proof), passed=not proof.faults, severity="error")
    return proof


def files_text(proof: MirrorProof) -> str:
    """The outcome of a proof in one sentence for people."""
    if proof.faults:
        more = f" (and {len(proof.faults) - 1} more files)" if len(proof.faults) > 1 else ""
        return f"{proof.faults[0]}{more}: its days are read from the table until the next run has made it again"
    oldest = f", the oldest proof from {proof.oldest:%Y-%m-%d %H:%M} UTC" if proof.oldest else ""
    return f"{proof.proven} of {proof.files} files of the mirror were hashed again and are intact{oldest}"


def fresh_text(report: MirrorReport) -> str:
    """The outcome of a run in one sentence for people."""
    if report.left:
        return (
            f"{report.left} files of the mirror are still to be made, the oldest from {report.behind} on: their days "
            "are read from the table"
        )
    return "every closed day is in the mirror as it is in the table"


def mirror_frame(store: Store) -> pl.DataFrame:
    """What is mirrored: dataset, series, number of files, rows, bytes, first and last day; sorted."""
    files = store.connections.run(catalogue.find)
    schema = {
        "dataset": pl.String, "series": pl.String, "rows": pl.Int64, "bytes": pl.Int64,
        "first_day": pl.Date, "end_day": pl.Date,
    }  # fmt: skip
    rows = [(one.dataset, one.series, one.rows, one.bytes, one.first_day, one.end_day) for one in files]
    return (
        pl.DataFrame(rows, schema=schema, orient="row")
        .group_by("dataset", "series", maintain_order=True)
        .agg(pl.len().alias("files"), pl.col("rows", "bytes").sum(), pl.col("first_day").min(), pl.col("end_day").max())
    )


def _record(store: Store, check: str, summary: str, *, passed: bool, severity: str) -> None:
    store.checks.record_result(check, None, passed=passed, severity=severity, summary=summary)
