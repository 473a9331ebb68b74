"""Everything that is stored is compared with the venue's own bars: once, then when it changes, and in rotation.

Guards I1 (docs/invariants.md).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from crypto_pipeline.healing.comparison.agreement import Agreement, agreements, stands_for, venue_agreement
from crypto_pipeline.market import BarOrigin, Timeframe
from crypto_pipeline.venues import traits_of
from crypto_pipeline_tests.healing.conftest import NOW, Bench

# The first day that is kept: older than what every check looks at.
OLD = datetime(2026, 11, 17, tzinfo=UTC)
WRONG = {
    "kind": "wrong_values", "symbol": "ETH-USDT", "columns": ["volume"], "factor": 0.5,
    "start": "2026-11-17T15:00:00Z", "end": "2026-11-17T15:10:00Z",
}  # fmt: skip
WINDOWS = [OLD + timedelta(hours=15), OLD + timedelta(hours=15, minutes=5)]
ALL = [timeframe for timeframe in Timeframe if timeframe not in (Timeframe.M1, Timeframe.W1)]


@pytest.fixture
def filled(make_bench: Callable[..., Bench]) -> Callable[..., Bench]:
    """A bench with two instruments whose three days are stored."""

    def make(**options: object) -> Bench:
        bench = make_bench(instruments="BTCUSDT,ETHUSDT", **options)
        bench.collect("BTC-USDT", "ETH-USDT")
        bench.run(lambda pipeline: pipeline.backfill())
        return bench

    return make


def check(bench: Bench, timeframe: Timeframe) -> tuple[bool, str]:
    outcomes = bench.run(lambda pipeline: pipeline.verify(timeframe, OLD, NOW))
    (one,) = (outcome for outcome in outcomes if outcome.name == "venue_agreement")
    return one.passed, one.summary


def disputed(bench: Bench, timeframe: Timeframe = Timeframe.M5) -> list[tuple[str, datetime]]:
    return bench.store.reconciliations.open(timeframe=timeframe).select("instrument", "open_time").rows()


def due(bench: Bench) -> pl.DataFrame:
    return bench.run(lambda pipeline: pipeline.due_for_comparison())


def test_wrong_minutes_of_any_day_are_found_by_a_pass_that_nobody_told_where(filled: Callable[..., Bench]) -> None:
    bench = filled(faults=[WRONG])
    passed, said = check(bench, Timeframe.M5)
    assert passed, "a check looks at the newest days only"
    assert "2026-11-17" not in said
    report = bench.run(lambda pipeline: pipeline.compare_due(60))
    assert disputed(bench) == [("ETH-USDT", window) for window in WINDOWS]
    assert disputed(bench, Timeframe.D1) == [("ETH-USDT", OLD)]
    assert (report.left, report.failed, report.problems) == (0, [], {})
    passed, said = check(bench, Timeframe.M5)
    assert not passed
    assert "2 windows in dispute with replay, of 1 instruments; first: ETH-USDT 2026-11-17 15:00 UTC" in said
    assert "1,728 of 1,728 5m bars of closed days (100 %)" in said
    assert due(bench).is_empty()
    # the venue corrects itself: what is in dispute is looked at again before its turn
    bench.exchange.clear_faults()
    bench.settings = bench.settings.model_copy(update={"compare_again_days": 1})
    bench.store.connections.run(
        lambda link: (
            link.execute("UPDATE market.comparisons SET compared_at = compared_at - interval '25 hours'") and None
        )
    )
    assert bench.run(lambda pipeline: pipeline.compare_due(60)).resolved == 2 + 5
    assert [name for timeframe in ALL for name in disputed(bench, timeframe)] == []
    assert check(bench, Timeframe.M5)[0]


def test_a_pass_that_ends_at_any_moment_is_gone_on_with(
    filled: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crypto_pipeline.healing.comparison.rotation.UNIT_BARS", 288)
    bench = filled()
    total, seen, times = due(bench).height, 0, 0
    while not due(bench).is_empty():
        before = due(bench).height

        async def killed() -> None:
            nonlocal times
            times += 1
            if times % 3 == 0:
                raise KeyboardInterrupt

        try:
            bench.run(lambda pipeline: pipeline.compare_due(60, give_way=killed))
        except KeyboardInterrupt:
            assert due(bench).height == before - seen_of(bench, total, seen), "what was compared is not due any more"
        seen = total - due(bench).height
    assert seen == total
    assert times > 6
    assert agreement(bench, Timeframe.M5).share == 1


def seen_of(bench: Bench, total: int, before: int) -> int:
    return total - before - due(bench).height


def agreement(bench: Bench, timeframe: Timeframe) -> Agreement:
    return agreements(bench.store, "replay", traits_of("replay"), NOW)[timeframe]


def test_a_pass_is_bounded_and_says_what_is_left(filled: Callable[..., Bench]) -> None:
    bench = filled()
    report = bench.run(lambda pipeline: pipeline.compare_due(0))
    assert (report.days, report.left) == (0, due(bench).height)
    assert "the next one goes on" in report.ended


def test_a_bar_that_changes_has_its_day_compared_again(filled: Callable[..., Bench]) -> None:
    bench = filled()
    bench.run(lambda pipeline: pipeline.compare_due(60))
    noon = OLD + timedelta(hours=12)
    mine = bench.store.reader.read(["BTC-USDT"], Timeframe.M15, noon, noon + timedelta(minutes=15))
    wrong = mine.with_columns(pl.col("high") * 2, pl.lit(str(BarOrigin.RECONCILED)).alias("source"))
    bench.store.bars.write(wrong.select(mine.columns), Timeframe.M15)
    assert due(bench).select("instrument", "timeframe", "day").rows() == [("BTC-USDT", "15m", date(2026, 11, 17))]
    assert agreement(bench, Timeframe.M15).share < 1
    report = bench.run(lambda pipeline: pipeline.compare_due(60))
    assert report.days == 1
    assert disputed(bench, Timeframe.M15) == [("BTC-USDT", noon)]


def test_one_unreadable_answer_costs_its_own_days_and_no_other(filled: Callable[..., Bench]) -> None:
    bench = filled(settings={"request_attempts": 1})
    bench.exchange.control({"kind": "malformed", "symbol": "ETH-USDT", "timeframe": "5m", "endpoint": "klines"})
    report = bench.run(lambda pipeline: pipeline.compare_due(60))
    assert sorted(report.failed) == [f"ETH-USDT 5m 2026-11-{day}" for day in (17, 18, 19)]
    assert report.left == due(bench).height == 0, "not asked for again at once, for ever"
    apart = bench.store.bars_apart.read(["BTC-USDT", "ETH-USDT"])
    assert apart.select("instrument", "timeframe").unique().rows() == [("ETH-USDT", "5m")]
    assert apart["reason"].str.contains("not compared: .*malformed").all()
    assert agreement(bench, Timeframe.M5).share < 1
    bench.exchange.clear_faults()
    bench.exchange.clock.set(now=NOW + timedelta(days=1, minutes=1))
    again = due(bench).filter(timeframe="5m", instrument="ETH-USDT")
    assert set(again["day"]) >= {date(2026, 11, 18), date(2026, 11, 19)}, "but a day later"


def test_a_venue_that_is_down_ends_the_pass(filled: Callable[..., Bench]) -> None:
    bench = filled(settings={"request_attempts": 1})
    bench.exchange.control({"kind": "server_error", "endpoint": "klines"})
    before = due(bench).height
    report = bench.run(lambda pipeline: pipeline.compare_due(60))
    assert "cannot be asked" in report.ended
    assert report.left == due(bench).height == before


def test_a_wider_bar_that_was_taken_from_the_venue_follows_its_revision(filled: Callable[..., Bench]) -> None:
    """Nothing below it could be asked for again: the newer statement is the bar, and the old one is kept as history."""
    bench = filled()
    four = OLD + timedelta(hours=4)
    mine = bench.store.reader.read(["BTC-USDT"], Timeframe.H4, four, four + timedelta(hours=4))
    once = mine.with_columns(
        pl.col("volume") * 0.5,
        pl.lit(str(BarOrigin.VENUE_HISTORICAL)).alias("source"),
        pl.lit(four + timedelta(hours=4), pl.Datetime("ms", "UTC")).alias("revision"),
    )

    def replace(connection: object) -> None:
        connection.execute("DELETE FROM market.ohlc_data WHERE timeframe = '4h'")  # type: ignore[attr-defined]

    bench.store.connections.run(replace)
    bench.store.bars.write(once.select(mine.columns), Timeframe.H4)
    report = bench.run(lambda pipeline: pipeline.compare_due(60))
    assert report.superseded == 1
    assert disputed(bench, Timeframe.H4) == []
    now = bench.store.reader.read(["BTC-USDT"], Timeframe.H4, four, four + timedelta(hours=4))
    assert now["volume"].to_list() == mine["volume"].to_list()


def test_a_check_never_passes_on_nothing_compared(filled: Callable[..., Bench]) -> None:
    bench = filled()
    nothing = Agreement("replay", Timeframe.H4, Timeframe.H4, stored=12)
    outcome = venue_agreement(bench.store, nothing, 0, 18)
    assert not outcome.passed
    assert "none of 12 4h bars" in outcome.summary
    assert outcome.figures["bars_compared"] == 0
    assert venue_agreement(bench.store, nothing, 3, 18).passed
    empty = venue_agreement(bench.store, Agreement("replay", Timeframe.W1, Timeframe.W1), 0, 0)
    assert empty.passed
    assert "no 1w bar is stored" in empty.summary


def test_every_check_tells_figures_that_can_be_plotted(filled: Callable[..., Bench]) -> None:
    bench = filled()
    for timeframe in (Timeframe.M1, Timeframe.M30):
        for outcome in bench.run(lambda pipeline, one=timeframe: pipeline.verify(one, OLD, NOW)):  # type: ignore[misc]
            assert outcome.passed, (timeframe, outcome.summary)
            names = {"expected", "present", "explained", "missing", "compared", "offending"}
            assert names <= set(outcome.figures), outcome.name
            assert outcome.figures["missing"] == 0
            assert outcome.figures["present"] > 0


@pytest.mark.parametrize(
    ("venue", "timeframe", "through"),
    [
        ("binance", "1m", "5m"), ("binance", "5m", "5m"), ("binance", "30m", "30m"), ("binance", "1w", "1w"),
        ("coinbase", "1m", "5m"), ("coinbase", "30m", "15m"), ("coinbase", "4h", "1h"), ("coinbase", "1w", "1d"),
    ],
)  # fmt: skip
def test_a_timeframe_that_is_never_compared_says_so_and_who_stands_for_it(
    venue: str, timeframe: str, through: str
) -> None:
    spoken = stands_for(Timeframe(timeframe), traits_of(venue))
    assert spoken == Timeframe(through)
    said = Agreement(venue, Timeframe(timeframe), spoken, stored=10).sentence()
    assert ("never compared" in said) == (timeframe != through)
    assert f"none of 10 {through} bars" in said
