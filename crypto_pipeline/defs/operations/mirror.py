"""The mirror as an asset: closed days as Parquet files beside the tables, and a check that hashes them in turn."""

from datetime import timedelta

import dagster as dg

from crypto_pipeline.defs.base import metadata
from crypto_pipeline.defs.base.check_results import check_result
from crypto_pipeline.defs.base.resources import MarketDatabase
from crypto_pipeline.defs.base.runs import LOW, asset_job, schedule, tags
from crypto_pipeline.defs.base.subjects import OPERATIONS
from crypto_pipeline.ops.housekeeping import mirror
from crypto_pipeline.settings import load_settings


@dg.asset(
    **OPERATIONS.arguments("lake"),
    kinds={"postgres", "parquet"},
    deps=["coverage"],
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=8), warn_window=timedelta(hours=3)),
    check_specs=[
        dg.AssetCheckSpec(
            mirror.FRESH_CHECK,
            asset="bar_mirror",
            description="Every closed day is in the mirror as it is in the table. Days that are not are read from the "
            "table, which takes longer.",
        )
    ],
)
def bar_mirror(context: dg.AssetExecutionContext, database: MarketDatabase) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Closed days of bars, features and labels as Parquet files, from which long reads are answered.

    A run makes the files of which a day's data version is another one, and moves the days of a closed month into files
    of one instrument. It may be killed and run again at any moment; what it made may be dropped. The tables stay the
    truth: a day whose version differs is read from them. Setting: mirror.
    """
    settings = load_settings()
    if not settings.mirror:
        with database.store() as store:
            mirror.leave_mirror(store, settings)
        result = check_result(
            mirror.FRESH_CHECK, "bar_mirror", passed=True, severity="warning", summary=mirror.NOT_WANTED
        )
        return dg.MaterializeResult(metadata={"state": mirror.NOT_WANTED}, check_results=[result])
    with database.store() as store:
        report = mirror.make_mirror(store, settings, progress=context.log.info)
        files = mirror.mirror_frame(store)
    result = check_result(
        mirror.FRESH_CHECK, "bar_mirror", passed=not report.left, severity="warning", summary=mirror.fresh_text(report)
    )
    return dg.MaterializeResult(
        metadata={
            **report.as_dict(),
            "dagster/row_count": int(files["rows"].sum()),
            "oldest_day_not_mirrored": str(report.behind or "none"),
            "bytes_in_all": int(files["bytes"].sum()),
            "mirror": metadata.table(files),
        },
        check_results=[result],
    )


@dg.asset_check(
    asset="bar_mirror",
    name=mirror.FILES_CHECK,
    description="Every file of the mirror is what was written, byte for byte: those that a reader could not read at "
    "once, of the others 1 GB each hour. The days of a bad one are read from the table until it is made again.",
)
def mirror_files(database: MarketDatabase) -> dg.AssetCheckResult:
    """A flipped bit or a missing file is found here."""
    with database.store() as store:
        proof = mirror.prove_mirror(store, load_settings())
    if proof is None:
        return check_result(mirror.FILES_CHECK, "bar_mirror", passed=True, severity="error", summary=mirror.NOT_WANTED)
    figures = {"files_hashed": proof.looked_at, "files": proof.files, "faults": len(proof.faults)}
    shown = {**figures, "faults_in_words": dg.MetadataValue.json(proof.faults)}
    return check_result(
        mirror.FILES_CHECK, "bar_mirror", passed=not proof.faults, severity="error",
        summary=mirror.files_text(proof), metadata=shown,
    )  # fmt: skip


make_mirror = asset_job(
    "make_mirror",
    [bar_mirror],
    tags(LOW, "mirror"),
    "Brings the mirror to the closed days of now, and hashes a part of its files.",
)

mirror_every_hour = schedule(
    "mirror_every_hour",
    make_mirror,
    "6 * * * *",
    "Every hour: makes the mirror's files of closed days that are new or changed, and hashes a part of all.",
)
