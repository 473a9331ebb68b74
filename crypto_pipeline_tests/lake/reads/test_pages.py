"""Values copied from plain pages are those that a Parquet reader decodes, for files with and without holes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_pipeline.lake.reads import pages
from crypto_pipeline.lake.reads.kept import KeptValues, Values
from crypto_pipeline.store.archive.parquet import ParquetOut
from crypto_pipeline.store.archive.rows import BAR_FILE
from crypto_pipeline.store.mirror.datasets import PLAIN_COLUMNS
from crypto_pipeline_tests.builders.mirror_files import mirror_file

FIRST = datetime(2025, 3, 30, tzinfo=UTC)
STEP = 60_000


def bars(minutes: Sequence[int], *, complete: bool = True) -> pl.DataFrame:
    """Bars of one instrument at these minutes after FIRST."""
    rng = np.random.default_rng(len(minutes))
    times = [FIRST + timedelta(minutes=minute) for minute in minutes]
    columns: dict[str, pl.Series] = {}
    for name, dtype in BAR_FILE.items():
        values: object = rng.random(len(minutes)) * 9
        if dtype == pl.String:
            values = ["X"] * len(minutes)
        elif dtype == pl.Boolean:
            values = [complete] * len(minutes)
        elif dtype.is_temporal():
            values = times
        columns[name] = pl.Series(name, values).cast(dtype)
    return pl.DataFrame(columns)


def written(path: Path, frame: pl.DataFrame, group: int, plain: Sequence[str] = PLAIN_COLUMNS) -> Path:
    with ParquetOut(path, "bars", plain=plain) as out:
        for part in frame.iter_slices(group):
            out.add(part)
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    minutes=st.sets(st.integers(0, 80), min_size=1).map(sorted),
    group=st.integers(1, 60),
    cut=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    moment=st.integers(-100, 6_000_000),
)
def test_places_and_times_of_rows(
    tmp_path: Path, minutes: list[int], group: int, cut: tuple[float, float], moment: int
) -> None:
    path = written(tmp_path / "bars.parquet", bars(minutes), group)
    found = pages.layout(path, STEP)
    decoded = pl.read_parquet(path)
    assert found is not None
    assert found.complete
    times = decoded["open_time"].to_physical().to_numpy()
    first = int(cut[0] * (len(minutes) - 1))
    until = first + 1 + int(cut[1] * (len(minutes) - first - 1))
    assert found.times(first, until).tolist() == times[first:until].tolist()
    assert [found.time_of(row) for row in range(found.rows)] == times.tolist()
    at = int(times[0]) + moment
    assert found.row_at(at) == int(np.searchsorted(times, at))

    out = [np.empty(until - first) for _ in PLAIN_COLUMNS]
    pages.copy_values(path, found, first, until, PLAIN_COLUMNS, out)
    for name, values in zip(PLAIN_COLUMNS, out, strict=True):
        assert values.tolist() == decoded[name][first:until].to_list()


def test_a_month_of_the_mirror_is_in_plain_pages(tmp_path: Path) -> None:
    frame = bars(range(31 * 1440))
    found = pages.layout(written(tmp_path / "bars.parquet", frame, 11_520), STEP)
    assert found is not None
    assert (found.rows, len(found.run_rows), len(found.offsets)) == (31 * 1440, 1, 4)


@pytest.mark.parametrize("how", ["packed", "several pages", "nulls are possible", "other columns"])
def test_files_that_are_packed_otherwise_are_left_to_a_decoder(tmp_path: Path, how: str) -> None:
    path, frame = tmp_path / "bars.parquet", bars(range(3000))
    if how == "packed":
        written(path, frame, 3000, plain=())
    elif how == "other columns":
        frame.select("open_time", "open").write_parquet(path)
    else:
        table = frame.to_arrow()
        schema = written(tmp_path / "plain.parquet", frame, 3000)
        wanted = pq.read_schema(schema) if how == "several pages" else table.schema
        pages_of = 1_000 if how == "several pages" else 1_000_000
        pq.write_table(table.cast(wanted), path, compression="none", use_dictionary=False, data_page_size=pages_of,
                       write_batch_size=100)  # fmt: skip
    assert pages.layout(path, STEP) is None


def test_an_incomplete_bar_is_seen_and_a_short_file_is_an_error(tmp_path: Path) -> None:
    frame = pl.concat([bars(range(50)), bars(range(50, 60), complete=False)])
    path = written(tmp_path / "bars.parquet", frame, 30)
    found = pages.layout(path, STEP)
    assert found is not None
    assert not found.complete
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(pages.ShortFileError, match="ends too early"):
        pages.copy_values(path, found, 0, 60, ["open"], [np.empty(60)])


def test_values_that_were_not_used_for_longest_are_given_up() -> None:
    values = Values(np.zeros(10, np.int64), {"open": pl.Series("open", np.zeros(10))})
    kept = KeptValues(most_bytes=170)
    one, two, three = (mirror_file(sha256=digest) for digest in ("1", "2", "3"))
    kept.put(one, values)
    kept.put(two, values)
    assert kept.get(one) is values
    kept.put(three, values)
    assert [kept.get(file) is not None for file in (one, two, three)] == [True, False, True]
