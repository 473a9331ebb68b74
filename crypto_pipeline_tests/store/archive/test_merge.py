"""Late copies of archived bars: table and archive together say what one table would, now and as of any moment.

Guards I1 and I10 (docs/invariants.md).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from crypto_pipeline.market.bars import BAR_SCHEMA, BarOrigin
from crypto_pipeline.market.retention import Kept, RetentionPolicy
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.store import Store
from crypto_pipeline.store.archive import restore
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.archive.retention import Retention
from crypto_pipeline_tests.builders.bars import add_symbols, bar, database_clock, empty_tables, frame, miscounted

MARCH = datetime(2025, 3, 1, tzinfo=UTC)
NOW = datetime(2025, 5, 3, 12, tzinfo=UTC)
SPAN = (MARCH, MARCH + timedelta(days=60))
#: The same bars are written to all; only the first two are ever archived (a table of its own per month, or one of all).
ARCHIVED, PLAIN = (Timeframe.M15, Timeframe.H1), Timeframe.M30
EXAMPLES = int(os.environ.get("CRYPTO_PIPELINE_TEST_EXAMPLES", "2"))

copies = st.builds(
    lambda symbol, hour, source, complete, stated, price, trades: bar(
        symbol,
        MARCH + timedelta(hours=hour),
        source=str(source),
        complete=complete,
        revision=MARCH + timedelta(days=2, hours=stated),
        price=price,
        trade_count=trades,
    ),
    st.sampled_from(["BTC-USDT", "ETH-USDT"]),
    st.integers(0, 2),
    st.sampled_from(BarOrigin),
    st.booleans(),
    st.integers(0, 2),
    st.sampled_from([100.0, 101.0]),
    st.sampled_from([None, 3]),
)
writes = st.lists(copies, min_size=1, max_size=4)
steps = st.lists(st.one_of(writes, writes, st.sampled_from(["archive", "restore"])), min_size=3, max_size=6)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture],
          phases=[Phase.generate])  # fmt: skip
@given(steps=steps)
def test_precedence_decides_wherever_the_copies_lie(store: Store, tmp_path: Path, steps: list[Any]) -> None:
    empty_tables(store)
    add_symbols(store)
    kept = dict.fromkeys(Timeframe, Kept(None, None)) | dict.fromkeys(ARCHIVED, Kept(30, None))
    storage = ArchiveStorage(str(tmp_path / "archive"))
    retention = Retention(store.connections, storage, tmp_path / "scratch", RetentionPolicy(kept, Kept(7, 7), 0))
    moments = []
    for step in [*steps, "archive"]:
        if step == "archive":
            retention.run(NOW, progress=lambda text: None)
        elif step == "restore":
            for timeframe in ARCHIVED:
                files = [file for file in store.archive.files(None) if file.timeframe == timeframe]
                if files:
                    restore.restore(store.connections, files, timedelta(0))
        else:
            for timeframe in (*ARCHIVED, PLAIN):
                store.bars.write(frame(step), timeframe)
        moments.append(database_clock(store))
        assert miscounted(store) == []
        for timeframe in ARCHIVED:
            assert_frame_equal(_seen(store, timeframe), _seen(store, PLAIN))
            for moment in moments:
                # a copy that says the same anew moves the revision of what is known, and so of what was
                said = [name for name in BAR_SCHEMA if name != "revision"]
                assert_frame_equal(
                    _seen(store, timeframe, moment).select(said), _seen(store, PLAIN, moment).select(said)
                )


def _seen(store: Store, timeframe: Timeframe, as_of: datetime | None = None) -> pl.DataFrame:
    whole = store.reader.read(["BTC-USDT", "ETH-USDT"], timeframe, *SPAN, as_of=as_of)
    few = store.reader.read(["BTC-USDT", "ETH-USDT"], timeframe, *SPAN, as_of=as_of, columns=["close", "instrument"])
    assert_frame_equal(few, whole.select(few.columns))
    newest = store.reader.newest(["BTC-USDT", "ETH-USDT"], timeframe, 3, as_of=as_of, columns=["close"])
    assert_frame_equal(newest, whole.select("close"))
    return whole.select(*BAR_SCHEMA)
