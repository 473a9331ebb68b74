"""Every absent minute gets its reason, from evidence; what was lost is healed when the venue shows it.

Guards I3 (docs/invariants.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from crypto_pipeline.healing.passes import NAMED
from crypto_pipeline.market import BarOrigin, Timeframe
from crypto_pipeline_tests.healing.conftest import NOW, Bench

DAY = datetime(2026, 11, 19, tzinfo=UTC)
HIDDEN = {"kind": "missing_range", "symbol": "BTC-USDT", "start": "2026-11-19T09:00:00Z", "end": "2026-11-19T13:00:00Z"}
SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT")


def backfilled(make_bench: Callable[..., Bench], **options: object) -> Bench:
    bench = make_bench(instruments="BTCUSDT,ETHUSDT,SOLUSDT", **options)
    bench.collect(*SYMBOLS)
    bench.run(lambda pipeline: pipeline.backfill())
    return bench


def test_what_the_venue_hides_is_lost_until_it_shows_it(make_bench: Callable[..., Bench]) -> None:
    bench = backfilled(make_bench, faults=[HIDDEN])
    rows = bench.store.ledger.open(timeframe=Timeframe.M1)
    assert rows.select("instrument", "state", "bars").rows() == [("BTC-USDT", "lost", 240)]
    assert "ids jump" in json.loads(rows["evidence"][0])["because"]
    bench.exchange.clear_faults()
    bench.run(lambda pipeline: pipeline.backfill())
    assert bench.store.ledger.open(instruments=["BTC-USDT"]).is_empty()
    healed = bench.store.ledger.healed(timeframe=Timeframe.M1)
    assert healed["bars"].sum() == 240
    true = bench.exchange.market.bars("BTCUSDT", Timeframe.M5, DAY, DAY + timedelta(days=1))
    ours = bench.store.reader.read(["BTC-USDT"], Timeframe.M5, DAY, DAY + timedelta(days=1))
    assert ours.select("open_time", "open", "close").equals(true.select("open_time", "open", "close"))


def test_bars_that_the_venue_does_not_state_are_rebuilt_from_its_trades(make_bench: Callable[..., Bench]) -> None:
    fault = {**HIDDEN, "endpoint": ["klines", "archive"], "timeframe": "1m", "end": "2026-11-19T09:07:00Z"}
    bench = backfilled(make_bench, faults=[fault])
    assert bench.store.ledger.open(timeframe=Timeframe.M1).is_empty()
    nine = DAY + timedelta(hours=9)
    ours = bench.store.reader.read(["BTC-USDT"], Timeframe.M1, nine, nine + timedelta(minutes=7))
    true = bench.exchange.market.bars("BTCUSDT", Timeframe.M1, nine, nine + timedelta(minutes=7))
    assert set(ours["source"]) == {str(BarOrigin.HISTORICAL_AGGREGATED)}
    values = ["open_time", "open", "high", "low", "close", "trade_count"]
    assert ours.select(values).equals(true.select(values))


def test_a_hole_that_stays_is_unfillable_after_spaced_attempts_and_a_person_can_reopen_it(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(instruments="BTCUSDT,ETHUSDT,SOLUSDT", faults=[HIDDEN], settings={"heal_attempts": 3})
    bench.collect(*SYMBOLS)
    states = []
    for _ in range(4):
        bench.run(lambda pipeline: pipeline.backfill())
        states.append(bench.store.ledger.open(timeframe=Timeframe.M1)["state"].to_list())
    assert states == [["lost"], ["lost"], ["unfillable"], ["unfillable"]]
    # nothing is asked for again once it is explained
    again = bench.run(lambda pipeline: pipeline.backfill())
    assert again.of(Timeframe.M1).planned == 0
    gap = bench.store.ledger.open(timeframe=Timeframe.M1)["gap_id"][0]
    bench.store.ledger.reopen(gap, "the venue says that it has restored them")
    bench.exchange.clear_faults()
    bench.run(lambda pipeline: pipeline.backfill())
    assert bench.store.ledger.open(timeframe=Timeframe.M1).is_empty()


def test_a_hole_is_not_asked_for_before_its_next_attempt(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(instruments="BTCUSDT,ETHUSDT,SOLUSDT", faults=[HIDDEN], settings={"heal_backoff": 3600.0})
    bench.collect(*SYMBOLS)
    bench.run(lambda pipeline: pipeline.backfill())
    again = bench.run(lambda pipeline: pipeline.backfill())
    assert again.of(Timeframe.M1).planned == 0
    assert again.of(Timeframe.M1).still_missing == 240


def test_a_span_that_a_person_names_is_asked_for_now_and_what_waits_says_until_when(
    make_bench: Callable[..., Bench],
) -> None:
    settings = {"heal_backoff": 3600.0, "heal_attempts": 2}
    bench = make_bench(instruments="BTCUSDT,ETHUSDT,SOLUSDT", faults=[HIDDEN], settings=settings)
    bench.collect(*SYMBOLS)
    first = bench.run(lambda pipeline: pipeline.backfill())
    (row,) = first.as_dict()["waiting"][:1]
    assert (row["instrument"], row["bars"]) == ("BTC-USDT", 240)
    assert row["next_attempt"].startswith("2026-11-20T11:30:")
    named = (DAY + timedelta(hours=8), DAY + timedelta(hours=14))
    for _ in range(3):
        asked = bench.run(lambda pipeline: pipeline.backfill(*named, mode=NAMED))
        assert (asked.of(Timeframe.M1).planned, asked.of(Timeframe.M1).still_missing) == (240, 240)
    # attempts are spaced: what a person asks for in between gives nothing up
    rows = bench.store.ledger.open(timeframe=Timeframe.M1)
    assert rows.select("state", "attempts").rows() == [("lost", 1)]
    bench.exchange.clear_faults()
    assert bench.run(lambda pipeline: pipeline.backfill()).still_missing >= 240
    assert bench.run(lambda pipeline: pipeline.backfill(*named, mode=NAMED)).still_missing == 0
    assert bench.store.ledger.open(instruments=["BTC-USDT"]).is_empty()


def test_an_outage_of_the_venue_is_told_from_a_loss_of_ours(make_bench: Callable[..., Bench]) -> None:
    """The generated market has outages: no instrument trades, and the ids run on over them."""
    bench = make_bench(instruments="BTCUSDT,ETHUSDT,SOLUSDT", settings={"days": 30})
    bench.collect(*SYMBOLS)
    bench.run(lambda pipeline: pipeline.backfill(timeframes=[Timeframe.M1, Timeframe.M5]))
    rows = bench.store.ledger.open(timeframe=Timeframe.M1)
    assert set(rows["state"]) == {"venue_outage"}
    assert rows.group_by("start", "end").agg(pl.col("instrument").n_unique())["instrument"].to_list() == [3] * (
        rows.height // 3
    )
    cells = bench.store.coverage.cells([Timeframe.M1, Timeframe.M5], None, None)
    assert (cells["expected"] == cells["present"] + cells["explained"]).all()


def test_an_instrument_that_the_venue_does_not_list_is_reported_and_picked_up_when_it_does(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench(instruments="BTCUSDT,ETHUSDT")
    bench.collect("BTC-USDT", "ETH-USDT", "SOL-USDT")
    bench.run(lambda pipeline: pipeline.backfill())
    rows = bench.store.ledger.open(timeframe=Timeframe.M1, instruments=["SOL-USDT"])
    assert rows["state"].to_list() == ["not_listed"]
    assert bench.store.coverage.summary()["missing"].sum() == 0
    listed = make_bench(instruments="BTCUSDT,ETHUSDT,SOLUSDT")
    listed.collect("SOL-USDT")
    listed.run(lambda pipeline: pipeline.backfill())
    assert listed.store.ledger.open(timeframe=Timeframe.M1, instruments=["SOL-USDT"]).is_empty()
    stored = listed.store.reader.read(["SOL-USDT"], Timeframe.M1, DAY, NOW)
    assert stored.height == (NOW - DAY) // timedelta(minutes=1)


def test_wrong_minutes_are_found_by_reconciliation_and_the_past_can_be_read_again(
    make_bench: Callable[..., Bench],
) -> None:
    wrong = {
        "kind": "wrong_values", "symbol": "ETH-USDT", "columns": ["volume"], "factor": 0.5,
        "start": "2026-11-19T15:00:00Z", "end": "2026-11-19T15:10:00Z",
    }  # fmt: skip
    bench = backfilled(make_bench, faults=[wrong])
    three, end = DAY + timedelta(hours=15), DAY + timedelta(hours=15, minutes=10)
    before = datetime.now(UTC)
    report = bench.run(lambda pipeline: pipeline.reconcile(DAY, DAY + timedelta(days=1)))
    assert report.disputed > 0, "while the venue contradicts itself the disagreement stays"
    assert set(bench.store.reconciliations.open()["state"]) == {"disputed"}
    then = bench.store.reader.read(["ETH-USDT"], Timeframe.M1, three, end)
    bench.exchange.clear_faults()
    report = bench.run(lambda pipeline: pipeline.reconcile(DAY, DAY + timedelta(days=1)))
    assert report.superseded == 10
    assert bench.store.reconciliations.open().is_empty()
    now = bench.store.reader.read(["ETH-USDT"], Timeframe.M1, three, end)
    true = bench.exchange.market.bars("ETHUSDT", Timeframe.M1, three, end)
    assert now["volume"].to_list() == true["volume"].to_list()
    as_of = bench.store.reader.read(["ETH-USDT"], Timeframe.M1, three, end, as_of=before)
    assert as_of["volume"].to_list() == then["volume"].to_list() != now["volume"].to_list()


def test_silence_of_instruments_that_were_not_looked_at_proves_nothing(make_bench: Callable[..., Bench]) -> None:
    """Others that have bars of the day, but whose newest lie before the hole, must not count as silent."""
    fault = {**HIDDEN, "start": "2026-11-20T09:00:00Z", "end": "2026-11-20T10:30:00Z"}
    bench = make_bench(instruments="BTCUSDT,ETHUSDT,SOLUSDT", faults=[fault])
    bench.collect(*SYMBOLS)
    eight = datetime(2026, 11, 20, 8, tzinfo=UTC)
    bench.run(lambda pipeline: pipeline.backfill(None, eight))
    bench.run(lambda pipeline: pipeline.backfill(instruments=["BTC-USDT"]))
    rows = bench.store.ledger.open(timeframe=Timeframe.M1, instruments=["BTC-USDT"])
    assert "venue_outage" not in rows.filter(pl.col("start") >= eight)["state"].to_list()


def recording(folder: Path, symbol: str, first: datetime, last: datetime, *holes: tuple[datetime, datetime]) -> None:
    """Minutes of one pair as a recording, without those of the holes."""
    times = pl.datetime_range(first, last, "1m", closed="left", time_zone="UTC", time_unit="ms", eager=True)
    outside = [~pl.col("at").is_between(*hole, closed="left") for hole in holes]
    price = 100.0 + pl.col("at").dt.minute()
    pl.DataFrame({"at": times}).filter(*outside).select(
        pl.col("at").to_physical().alias("ts_ms"),
        *(price.alias(name) for name in ("open", "high", "low", "close")),
        pl.lit(2.0).alias("volume"),
    ).write_parquet(folder / f"{symbol.replace('-', '_')}-1m-2026-01.parquet")


def test_only_what_was_listed_at_that_minute_tells_an_outage(make_bench: Callable[..., Bench], tmp_path: Path) -> None:
    """Trades of one pair are cut for 40 minutes in the morning; its siblings are listed at noon, or gone by then."""
    day = datetime(2026, 1, 6, tzinfo=UTC)
    cut = day + timedelta(hours=9), day + timedelta(hours=9, minutes=40)
    down = day + timedelta(hours=15), day + timedelta(hours=15, minutes=30)
    end = day + timedelta(days=1)
    young = ("AA-USDT", "BB-USDT", "CC-USDT", "DD-USDT")
    recording(tmp_path, "BTC-USDT", day, end, cut, down)
    for name in young:
        recording(tmp_path, name, day + timedelta(hours=12), end, down)
    bench = make_bench(source=tmp_path, now=end + timedelta(minutes=10), settings={"days": 1})
    bench.collect("BTC-USDT", *young)
    for _ in range(2):  # what this pass asked for, and what an earlier one did
        bench.run(lambda pipeline: pipeline.backfill(timeframes=[Timeframe.M1]))
        rows = bench.store.ledger.open(Timeframe.M1, ["BTC-USDT"], start=day, end=end).filter(pl.col("start") < end)
        assert rows.filter(start=cut[0]).select("end", "state").rows() == [(cut[1], "lost")]
        assert rows.filter(start=down[0]).select("end", "state").rows() == [(down[1], "venue_outage")]
    evidence = json.loads(rows.filter(start=cut[0])["evidence"][0])
    assert (evidence["rule"], evidence["witnesses"]) == ("few_witnesses", 0)
    assert json.loads(rows.filter(start=down[0])["evidence"][0])["witnesses"] == 4
