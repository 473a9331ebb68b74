"""Frames that show retention and archive to people."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from crypto_pipeline.store.archive.catalogue import ArchiveFile
from crypto_pipeline.store.archive.retention import Due, RetentionReport


def archive_frame(files: Sequence[ArchiveFile]) -> pl.DataFrame:
    """Archive files: ``kind``, ``timeframe``, ``span``, ``rows``, ``bytes``, ``verified_at`` and ``url``."""
    rows = [
        (
            file.kind,
            str(file.timeframe or ""),
            f"{file.first_open:%Y-%m-%d} – {file.end_open:%Y-%m-%d}",
            file.rows,
            file.bytes,
            file.verified_at,
            file.url,
        )
        for file in files
    ]
    schema = {
        "kind": pl.String(),
        "timeframe": pl.String(),
        "span": pl.String(),
        "rows": pl.Int64(),
        "bytes": pl.Int64(),
        "verified_at": pl.Datetime("ms", "UTC"),
        "url": pl.String(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def retention_frame(report: RetentionReport) -> pl.DataFrame:
    """What one run removed from tables, one row per span: ``span``, ``rows``, ``bytes`` of its files, and seconds.

    ``export`` includes reading the files back; ``switch`` is the time that writers of the span waited; ``drop``.
    """
    rows: list[tuple[object, ...]] = [
        (str(one.span), "archived", one.rows, one.bytes, one.export_seconds, one.switch_seconds, one.drop_seconds)
        for one in report.archived
    ]
    rows += [(str(one.span), "dropped", one.rows, 0, 0.0, 0.0, 0.0) for one in report.dropped]
    names = ("span", "what", "rows", "bytes", "export_seconds", "switch_seconds", "drop_seconds")
    kinds = (pl.String(), pl.String(), pl.Int64(), pl.Int64(), pl.Float64(), pl.Float64(), pl.Float64())
    return pl.DataFrame(rows, schema=dict(zip(names, kinds, strict=True)), orient="row")


def due_frame(due: Sequence[Due]) -> pl.DataFrame:
    """What the next run removes from tables: ``span``, ``rows``, ``then`` (archived or dropped) and ``waits``."""
    rows = [(str(one.span), one.rows, "archived" if one.archived else "dropped", one.waits) for one in due]
    schema = {"span": pl.String(), "rows": pl.Int64(), "then": pl.String(), "waits": pl.String()}
    return pl.DataFrame(rows, schema=schema, orient="row")
