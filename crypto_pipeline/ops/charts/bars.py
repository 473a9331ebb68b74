"""Charts of stored bars as PNG bytes, small enough for the metadata of Dagster events."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_UP, _DOWN, _INK, _HOLE = "#1a7f5a", "#c0392b", "#30363d", "#f6d5d1"
_MOST_ROWS = 40
_MOST_CANDLES = 160


def coverage_heatmap(cells: pl.DataFrame, title: str) -> bytes:
    """Draw instrument × day, coloured by the share of expected bars that is present or explained; PNG bytes.

    ``cells`` has ``instrument``, ``day`` (Date, UTC), ``expected``, ``present`` and ``explained`` (numbers of bars).
    Green is complete, amber is explained, red is missing. The worst instruments come first; at most 40 are drawn.
    """
    worst = (
        cells.group_by("instrument")
        .agg((pl.col("expected") - pl.col("present") - pl.col("explained")).sum().alias("missing"))
        .sort(["missing", "instrument"], descending=[True, False])
        .head(_MOST_ROWS)
    )
    names = worst["instrument"].to_list()
    days = cells["day"].unique().sort().to_list()
    left = 0.35 + 0.07 * max(map(len, names), default=0)
    drawn, axes = figure(
        min(14.0, 2.5 + 0.25 * max(len(days), 8)), 1.2 + 0.22 * max(len(names), 3), margins=(left, 0.3, 0.15, 0.5)
    )
    rows = {name: index for index, name in enumerate(names)}
    columns = {day: index for index, day in enumerate(days)}
    image = [[(0.93, 0.93, 0.93)] * len(days) for _ in names]
    for cell in cells.filter(pl.col("instrument").is_in(names)).iter_rows(named=True):
        image[rows[cell["instrument"]]][columns[cell["day"]]] = _cell_colour(cell)
    axes.imshow(image or [[(1, 1, 1)]], aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(names)), names, fontsize=7)
    step = max(1, len(days) // 12)
    axes.set_xticks(range(0, len(days), step), [f"{day:%m-%d}" for day in days[::step]], fontsize=7)
    shown = (
        f" (worst {len(names)} of {cells['instrument'].n_unique()})"
        if cells["instrument"].n_unique() > len(names)
        else ""
    )
    axes.set_title(f"{title}{shown}\ngreen: present · amber: explained · red: missing", fontsize=9, color=_INK)
    return png(drawn)


def candles(bars: pl.DataFrame, width: timedelta, title: str, reach: datetime | None = None) -> bytes:
    """Draw candles with their volume below, for the newest 160 rows of ``bars``; PNG bytes.

    ``bars`` has one instrument, sorted by ``open_time`` (UTC), with prices and volume. The time axis is linear and ends
    at ``reach`` (default: the last bar). Times without a bar are shaded.
    """
    shown = bars.tail(_MOST_CANDLES)
    origin = shown["open_time"][0]
    last = max((shown["open_time"][-1] - origin) / width + 1, (reach - origin) / width if reach is not None else 0)
    drawn, (price, volume) = figure(9.0, 4.2, rows=2, ratios=(3, 1), margins=(0.75, 0.3, 0.15, 0.35))
    holes = draw_candles(price, volume, shown, width, last)
    price.set_title(f"{title} (UTC{', shaded: no bar' if holes else ''})", fontsize=9, color=_INK)
    return png(drawn)


def draw_candles(price: Any, volume: Any, shown: pl.DataFrame, width: timedelta, last: float) -> bool:
    """Draw candles of ``shown`` (one instrument, sorted) on two axes, from its first bar to ``last`` bars later.

    Times without a bar are shaded; returns whether there are any.
    """
    origin = shown["open_time"][0]
    positions = ((shown["open_time"] - origin) / width).to_list()
    colours = [_UP if row["close"] >= row["open"] else _DOWN for row in shown.iter_rows(named=True)]
    price.vlines(positions, shown["low"].to_list(), shown["high"].to_list(), colors=colours, linewidth=0.7)
    opened, closed = shown["open"].to_numpy(), shown["close"].to_numpy()
    _bars(price, positions, opened, closed, colours)
    # A body of height 0 would be invisible: a bar whose open equals its close is drawn as a line.
    flat = [(place, price_) for place, price_, other in zip(positions, opened, closed, strict=True) if price_ == other]
    price.hlines([y for _, y in flat], [x - 0.35 for x, _ in flat], [x + 0.35 for x, _ in flat], colors=_UP)
    _bars(volume, positions, [0.0] * shown.height, shown["volume"].to_list(), colours)
    volume.set_ylim(bottom=0)
    holes = [(a + 0.5, b - 0.5) for a, b in pairwise([*positions, last]) if b - a > 1]
    for axes in (price, volume):
        axes.set_xlim(-0.5, last - 0.5)
        axes.tick_params(labelsize=7)
        for begin, end in holes:
            axes.axvspan(begin, end, color=_HOLE, linewidth=0)
    ticks = range(0, math.ceil(last), max(1, math.ceil(last / 8)))
    price.set_xticks([])
    volume.set_xticks(ticks, [f"{origin + width * tick:%m-%d %H:%M}" for tick in ticks], fontsize=7)
    return bool(holes)


def _bars(axes: Any, positions: Sequence[float], bottoms: Any, tops: Any, colours: Sequence[str]) -> None:
    """Draw all rectangles as one collection: matplotlib's ``bar`` makes one object each and takes ten times as long."""
    from matplotlib.collections import PolyCollection

    corners = [
        [(x - 0.35, low), (x + 0.35, low), (x + 0.35, high), (x - 0.35, high)]
        for x, low, high in zip(positions, bottoms, tops, strict=True)
    ]
    axes.add_collection(PolyCollection(corners, facecolors=colours))
    axes.autoscale_view()


def _cell_colour(cell: dict[str, object]) -> tuple[float, float, float]:
    expected = int(cell["expected"])  # type: ignore[call-overload]
    if expected == 0:
        return (0.93, 0.93, 0.93)
    present, explained = int(cell["present"]), int(cell["explained"])  # type: ignore[call-overload]
    if present + explained < expected:
        return (0.80, 0.18, 0.15) if present + explained < expected * 0.5 else (0.91, 0.45, 0.32)
    return (0.96, 0.78, 0.35) if explained > expected * 0.01 else (0.18, 0.62, 0.43)


def figure(
    width: float,
    height: float,
    rows: int = 1,
    ratios: tuple[int, ...] = (),
    margins: tuple[float, float, float, float] | None = None,
) -> tuple[Figure, Any]:
    """Make a figure of ``width`` × ``height`` inches with ``rows`` axes below each other; one row returns one axes.

    ``margins`` are left, bottom, right and top in inches; fixed margins are twice as fast as matplotlib's layout.
    """
    # Matplotlib is slow to import, so it is imported only where a chart is drawn. pyplot is not used: it keeps global
    # state and is not safe in a long-lived server.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), dpi=80, layout=None if margins else "constrained")
    FigureCanvasAgg(drawn)
    if margins:
        left, bottom, right, top = margins
        drawn.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, hspace=0.08)
    return drawn, drawn.subplots(rows, 1, height_ratios=ratios or None)


def png(drawn: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png")
    return buffer.getvalue()
