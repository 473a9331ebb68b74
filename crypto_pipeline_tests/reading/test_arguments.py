"""Times as people write them: what is clear is taken, the rest is refused, and what a refusal says to write works."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest

from crypto_pipeline.reading.arguments import moment

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
MIDNIGHT = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-01-31", MIDNIGHT),
        (date(2026, 1, 31), MIDNIGHT),
        ("2026-01-31T12:00Z", NOON),
        ("2026-01-31 13:00+01:00", NOON),
        (datetime(2026, 1, 31, 13, tzinfo=BERLIN), NOON),
        (pd.Timestamp("2026-01-31 07:00", tz="America/New_York"), NOON),
        (pl.Series([NOON]).dt.convert_time_zone("Asia/Tokyo")[0], NOON),
        # an hour that a zone has twice, and one that it does not have
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        (datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_what_is_clear_is_taken(written: Any, meant: datetime) -> None:
    assert moment(written, "start") == meant


@pytest.mark.parametrize(
    ("written", "fix", "meant"),
    [
        ("2026-01-31T12:00", r"for example (\S+)$", NOON),
        (NOON.replace(tzinfo=None), r"for example (\S+)$", NOON),
        (pd.Timestamp("2026-01-31 12:00"), r"for example (\S+)$", NOON),
        (pl.Series([NOON.replace(tzinfo=None)])[0], r"for example (\S+)$", NOON),
        (np.datetime64("2026-01-31T12:00"), r"give '(.*)' if", NOON),
        (np.datetime64("2026-01-31T12:00:00", "ns"), r"give '(.*)' if", NOON),
        (np.datetime64("2026-01-31"), r"give '(.*)' if", MIDNIGHT),
        (np.datetime64("2026-01"), r"give '(.*)' if", datetime(2026, 1, 1, tzinfo=UTC)),
        (NOON.timestamp(), r"Unix time (datetime.*)$", NOON),
        (int(NOON.timestamp()), r"Unix time (datetime.*)$", NOON),
        (int(NOON.timestamp() * 1000), r"Unix time (datetime.*)$", NOON),
        (np.int64(NOON.timestamp() * 1000), r"Unix time (datetime.*)$", NOON),
    ],
)
def test_what_is_not_clear_is_refused_with_what_to_write_instead(written: Any, fix: str, meant: datetime) -> None:
    with pytest.raises(ValueError, match=r"^start: ") as refused:
        moment(written, "start")
    found = re.search(fix, str(refused.value))
    assert found is not None, refused.value
    text = found[1]
    instead = eval(text, {"datetime": datetime, "UTC": UTC}) if text.startswith("datetime") else text
    assert moment(instead, "start") == meant


@pytest.mark.parametrize("written", [timedelta(days=1), np.timedelta64(1, "D"), pd.Timedelta("1D")])
def test_a_length_of_time_is_no_moment(written: Any) -> None:
    with pytest.raises(ValueError, match=r"length of time: give a moment, for example reader.now\(\) - timedelta"):
        moment(written, "start")


@pytest.mark.parametrize(
    "written", [True, None, "", "yesterday", "31.01.2026", "2026-02-30", pd.NaT, float("nan"), pl.lit("2026"), [NOON]]
)
def test_everything_else_is_refused_with_the_forms_that_there_are(written: Any) -> None:
    with pytest.raises(ValueError, match=r"^start: .*2026-01-31T12:00Z"):
        moment(written, "start")
