"""The storage report as a chart: the largest users of disk space, and when the disk is full at the current growth."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from crypto_pipeline.ops.charts.bars import figure, png
from crypto_pipeline.ops.host.disk_space import size_text
from crypto_pipeline.ops.housekeeping.storage_report import StorageReport

_HEAP, _INDEX, _INK, _FULL = "#2f6f9f", "#9cc3de", "#30363d", "#c0392b"
_MOST = 12


def storage_chart(found: StorageReport) -> bytes:
    """Draw the largest tables with indexes, archive, mirror, backups and Dagster; below, the forecast of the disk. PNG
    bytes.
    """
    bars = _bars(found)
    drawn, (room, disk) = figure(9.0, 1.6 + 0.28 * bars.height + 1.8, rows=2, ratios=(max(3, bars.height // 2), 3))
    places = range(bars.height)
    room.barh(places, bars["heap"].to_list(), color=_HEAP, label="rows")
    room.barh(places, bars["index"].to_list(), left=bars["heap"].to_list(), color=_INDEX, label="indexes")
    room.set_yticks(places, bars["name"].to_list(), fontsize=7)
    room.invert_yaxis()
    room.tick_params(axis="x", labelsize=7)
    room.xaxis.set_major_formatter(lambda value, _: size_text(value))
    room.legend(fontsize=7, loc="lower right")
    room.set_title(found.headline(), fontsize=8, color=_INK)
    _forecast(disk, found)
    return png(drawn)


def _bars(found: StorageReport) -> pl.DataFrame:
    tables = found.tables.select(
        (pl.col("table").str.split(".").list.last() + " " + pl.col("timeframe")).str.strip_chars().alias("name"),
        (pl.col("bytes") - pl.col("index_bytes")).alias("heap"),
        pl.col("index_bytes").alias("index"),
    )
    others = pl.DataFrame(
        [
            ("archive (Parquet)", int(found.archive["bytes"].sum() or 0), 0),
            ("mirror (Parquet)", int(found.mirror["bytes"].sum() or 0), 0),
            ("backups", found.backups_bytes, 0),
            ("Dagster's storage", int(found.dagster["bytes"].sum() or 0), 0),
        ],
        schema=tables.schema,
        orient="row",
    )
    return pl.concat([tables.head(_MOST), others.filter(pl.col("heap") > 0)])


def _forecast(draw: Any, found: StorageReport) -> None:
    """Draw the space used over the coming days and the size of the disk."""
    total, free, until = found.disk.total, found.disk.free, found.days_until_full
    horizon = 90.0 if until is None else min(max(30.0, until * 1.2), 1000.0)
    used = (total - free) if total is not None and free is not None else found.database_bytes
    days = [0.0, horizon]
    draw.plot(days, [used, used + found.bytes_per_day * horizon], color=_HEAP)
    if total is not None:
        draw.axhline(total, color=_FULL, linewidth=0.8)
        draw.set_ylim(0, total * 1.1)
    start = found.taken_at
    ticks = [horizon * part / 6 for part in range(7)]
    labels = [f"{start + timedelta(days=tick):%Y-%m-%d}" for tick in ticks]
    draw.set_xticks(ticks, labels, fontsize=7)
    draw.tick_params(axis="y", labelsize=7)
    draw.yaxis.set_major_formatter(lambda value, _: size_text(value))
    draw.set_title("used (line) and size of the disk (red)", fontsize=8, color=_INK)
