"""Our roll-up of Binance's 1m bars against Binance's own wider bars, as recorded. Straight from the files.

Guards I4 (docs/invariants.md).
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from crypto_pipeline.market import Timeframe, compare_bars, roll_up
from crypto_pipeline_tests.realdata.conftest import read_bars

pytestmark = pytest.mark.realdata


def complete_windows(folder: Path, year: int) -> list[tuple[Timeframe, pl.DataFrame, pl.DataFrame, pl.DataFrame]]:
    """(timeframe, our roll-up, the venue's bars, a roll-up over flat bars too), of complete windows both have."""
    found: list[tuple[Timeframe, pl.DataFrame, pl.DataFrame, pl.DataFrame]] = []
    for path in sorted((folder / "bars" / "binance_spot").glob(f"*_*-1m-{year}-*.parquet")):
        minutes = read_bars(path)
        pair = path.name.partition("-")[0]
        for other in sorted(path.parent.glob(f"{pair}-*-{year}-*.parquet")):
            timeframe = Timeframe(other.name.split("-")[1])
            if timeframe is Timeframe.M1:
                continue
            theirs = read_bars(other)
            counts = minutes.group_by(timeframe.floor_expr()).len()
            complete = counts.filter(pl.col("len") == timeframe.minutes).join(theirs, on="open_time", how="semi")
            naive = minutes.group_by("instrument", timeframe.floor_expr(), maintain_order=True).agg(
                pl.col("open").first(),
                pl.col("high").max(),
                pl.col("low").min(),
                pl.col("close").last(),
                pl.col("volume").sum(),
            )
            ours, naive, theirs = (
                frame.join(complete, on="open_time", how="semi")
                for frame in (roll_up(minutes, timeframe), naive, theirs)
            )
            found.append((timeframe, ours, theirs, naive))
    return found


def test_every_complete_window_of_2023_equals_the_venues_own(recorded_data: Path) -> None:
    windows: Counter[Timeframe] = Counter()
    naive_faults = 0
    for timeframe, ours, theirs, naive in complete_windows(recorded_data, 2023):
        assert ours.height == theirs.height
        assert compare_bars(ours, theirs).is_empty()
        naive_faults += compare_bars(naive, theirs).height
        windows[timeframe] += ours.height
    assert windows.total() == 56_409
    assert set(windows) == {Timeframe.M5, Timeframe.M15, Timeframe.M30, Timeframe.H1}
    assert naive_faults == 2_431, "the rule matters: counting flat bars is wrong in this many windows"


def test_the_silent_faults_of_2021_are_found_untold(recorded_data: Path) -> None:
    pairs = complete_windows(recorded_data, 2021)
    assert sum(ours.height for _, ours, _, _ in pairs) == 125_845
    found = pl.concat([compare_bars(ours, theirs) for _, ours, theirs, _ in pairs])
    assert found.height == 195
    assert found.filter(pl.col("kind") == "price_and_volume").height == 76
    assert found.filter(pl.col("kind") == "volume").height == 119
    exception = (pl.col("instrument") == "BRD-BTC") & (pl.col("open_time").dt.date() == date(2021, 4, 12))
    (odd,) = found.filter(exception).to_dicts()
    assert odd["open_time"] == datetime(2021, 4, 12, 9, 45, tzinfo=UTC)
    assert (odd["ours"]["volume"], odd["theirs"]["volume"]) == (3570.0, 3804.0)
    spans = {
        day: (first.strftime("%H:%M"), last.strftime("%H:%M"))
        for day, first, last in found.filter(~exception)
        .group_by(pl.col("open_time").dt.date().alias("day"))
        .agg(pl.col("open_time").min().alias("first"), pl.col("open_time").max().alias("last"))
        .iter_rows()
    }
    assert spans == {date(2021, 4, 22): ("02:10", "02:20"), date(2021, 4, 23): ("01:40", "02:45")}
    volume = found.filter(~exception).select(
        (pl.col("ours").struct.field("volume") < pl.col("theirs").struct.field("volume")).all()
    )
    assert volume.item(), "the 1m bars always hold too little, never too much"
