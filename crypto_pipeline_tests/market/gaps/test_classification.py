"""Why bars are missing: evidence in, a verdict for every missing minute out.

Guards I3 (docs/invariants.md).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.market import (
    TRADE_SCHEMA,
    UTC_MS,
    Evidence,
    GapRules,
    GapState,
    GapVerdict,
    Timeframe,
    TradeProof,
    classify,
    sibling_activity,
    verdict_frame,
)
from crypto_pipeline.market.gaps.evidence import WITNESS_SCHEMA

START = datetime(2021, 4, 25, 4, 0, tzinfo=UTC)
LATER = datetime(2021, 5, 1, tzinfo=UTC)
M1 = Timeframe.M1


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def siblings(active: dict[int, int]) -> pl.DataFrame:
    rows = [(at(minute), count) for minute, count in active.items()]
    return pl.DataFrame(rows, schema={"open_time": UTC_MS, "active": pl.Int64}, orient="row")


def others(count: int, rate: float | None = None, start: float = -600, end: float = 6000) -> pl.DataFrame:
    return pl.DataFrame([(at(start), at(end), rate)] * count, schema=WITNESS_SCHEMA, orient="row")


def trades(first: float, last: float, ids: dict[int, float], before: int | None, after: int | None) -> TradeProof:
    rows = [("A-B", number, number, number, at(minute), 1.0, 1.0, "buy") for number, minute in ids.items()]
    return TradeProof(at(first), at(last), pl.DataFrame(rows, schema=TRADE_SCHEMA, orient="row"), before, after)


def states(verdicts: list[GapVerdict]) -> list[tuple[float, float, str]]:
    def minute(moment: datetime) -> float:
        return (moment - START) / timedelta(minutes=1)

    return [(minute(one.start), minute(one.end), str(one.state)) for one in verdicts]


def busy(last: int = 60, count: int = 3) -> dict[str, Any]:
    bars = siblings(dict.fromkeys(range(-60, last), count))
    return {"witnesses": others(3), "sibling_bars": bars, "settled_until": LATER}


BOTH: dict[str, Any] = {"answered_before": True, "answered_after": True}


def test_before_the_listing_after_the_delisting_and_not_settled_yet() -> None:
    evidence = Evidence(settled_until=at(50.5), listed=at(5), delisted=at(30.5))
    assert states(classify((at(0), at(60)), M1, evidence)) == [
        (0, 5, "not_listed"),
        (5, 31, "lost"),
        (31, 60, "delisted"),
    ]
    assert states(classify((at(0), at(60)), M1, Evidence(settled_until=at(50.5)))) == [
        (0, 50, "lost"),
        (50, 60, "pending"),
    ]
    assert states(classify((at(0), at(60)), M1, Evidence(settled_until=at(-9)))) == [(0, 60, "pending")]
    # The hour in which the listing happens is expected: part of it traded.
    hour = classify((at(-120), at(120)), Timeframe.H1, Evidence(settled_until=LATER, listed=at(7)))
    assert states(hour) == [(-120, 0, "not_listed"), (0, 120, "lost")]


def test_ids_that_run_on_prove_silence() -> None:
    evidence = Evidence(**busy(), contiguous_trade_ids=True, trades=trades(0, 10, {}, 41, 42))
    (verdict,) = classify((at(0), at(10)), M1, evidence)
    assert verdict.state is GapState.NO_TRADE
    assert verdict.evidence["trade_ids"] == [41, 42]
    assert verdict.evidence["rule"] == "no_trade_ids"


def test_trades_without_bars_are_lost_and_silence_between_them_is_proven() -> None:
    proof = trades(0, 10, {42: 3.5, 43: 3.9, 44: 7.0}, 41, 45)
    evidence = Evidence(**busy(), contiguous_trade_ids=True, trades=proof)
    assert states(classify((at(0), at(10)), M1, evidence)) == [
        (0, 3, "no_trade"),
        (3, 4, "lost"),
        (4, 7, "no_trade"),
        (7, 8, "lost"),
        (8, 10, "no_trade"),
    ]


def test_ids_that_run_on_over_individual_trades_that_do_not_prove_no_silence() -> None:
    def proof(before: int | None, after: int | None) -> TradeProof:
        return TradeProof(at(0), at(10), pl.DataFrame(schema=TRADE_SCHEMA), 41, 42, before, after)

    def judged(proof: TradeProof) -> list[tuple[float, float, str]]:
        return states(classify((at(0), at(10)), M1, Evidence(**busy(), contiguous_trade_ids=True, trades=proof)))

    assert judged(proof(70, 71)) == judged(proof(None, 71)) == judged(proof(70, None)) == [(0, 10, "no_trade")]
    assert judged(proof(70, 75)) == [(0, 10, "lost")]


def test_a_jump_in_the_ids_leaves_its_minutes_in_doubt() -> None:
    proof = trades(0, 10, {42: 2.5, 46: 5.5}, 41, 47)
    evidence = Evidence(**busy(), contiguous_trade_ids=True, trades=proof)
    verdicts = classify((at(0), at(10)), M1, evidence)
    assert states(verdicts) == [
        (0, 2, "no_trade"),
        (2, 3, "lost"),
        (3, 5, "lost"),
        (5, 6, "lost"),
        (6, 10, "no_trade"),
    ]
    assert [one.evidence["rule"] for one in verdicts if one.state is GapState.LOST] == [
        "traded",
        "ids_missing",
        "traded",
    ]
    # Trades that the endpoint does not even show.
    (hidden,) = classify(
        (at(0), at(10)), M1, Evidence(**busy(), contiguous_trade_ids=True, trades=trades(0, 10, {}, 41, 99))
    )
    assert (hidden.state, hidden.evidence["rule"]) == (GapState.LOST, "ids_missing")
    assert "41 and 99" in hidden.evidence["because"]


def test_without_ids_the_evidence_is_weaker_and_says_so() -> None:
    proof = trades(0, 10, {}, None, None)
    (verdict,) = classify((at(0), at(10)), M1, Evidence(**busy(), **BOTH, contiguous_trade_ids=True, trades=proof))
    assert verdict.state is GapState.NO_TRADE
    assert verdict.evidence["because"].startswith("Weaker evidence")
    one_side = Evidence(**busy(), answered_before=True, trades=proof)
    assert states(classify((at(0), at(10)), M1, one_side)) == [(0, 10, "lost")]
    not_asked = Evidence(**busy(), **BOTH, states_empty_bars=True)
    assert states(classify((at(0), at(10)), M1, not_asked)) == [(0, 10, "lost")]
    first_time = Evidence(**busy(), **BOTH, attempts=1)
    assert states(classify((at(0), at(10)), M1, first_time)) == [(0, 10, "lost")]
    leaves_out = Evidence(**busy(), **BOTH, attempts=2)
    assert states(classify((at(0), at(10)), M1, leaves_out)) == [(0, 10, "no_trade")]


def test_no_sibling_speaks_then_the_venue_was_down() -> None:
    bars = siblings({0: 3, 1: 3, 5: 3})
    evidence = Evidence(settled_until=LATER, witnesses=others(3), sibling_bars=bars, states_empty_bars=True)
    assert states(classify((at(0), at(8)), M1, evidence)) == [
        (0, 2, "lost"),
        (2, 5, "venue_outage"),
        (5, 6, "lost"),
        (6, 8, "venue_outage"),
    ]


def test_one_sibling_is_no_witness_unless_the_venue_is_known_to_be_down() -> None:
    alone: dict[str, Any] = {"settled_until": LATER, "sibling_bars": siblings({}), "states_empty_bars": True}
    assert states(classify((at(0), at(8)), M1, Evidence(**alone, witnesses=others(1)))) == [(0, 8, "lost")]
    assert states(classify((at(0), at(8)), M1, Evidence(**alone, witnesses=others(1), venue_down=True))) == [
        (0, 8, "venue_outage")
    ]
    nobody = Evidence(**alone, witnesses=others(0), venue_down=True)
    assert states(classify((at(0), at(8)), M1, nobody)) == [(0, 8, "lost")]


def test_only_those_that_were_listed_at_that_minute_are_witnesses() -> None:
    """Four others, none listed yet in the first half; all of them silent all the time."""
    later = others(4, start=20, end=40)
    evidence = Evidence(settled_until=LATER, witnesses=later, sibling_bars=siblings({}), states_empty_bars=True)
    before, during, after = classify((at(0), at(60)), M1, evidence)
    assert states([before, during, after]) == [(0, 20, "lost"), (20, 40, "venue_outage"), (40, 60, "lost")]
    assert before.evidence["rule"] == "few_witnesses"
    assert "only 0 were looked at and listed then" in before.evidence["because"]
    assert during.evidence["witnesses"] == 4


def test_nearly_silent_is_a_matter_of_the_rules() -> None:
    bars = siblings(dict.fromkeys(range(9), 1))
    evidence = Evidence(settled_until=LATER, witnesses=others(9), sibling_bars=bars, states_empty_bars=True)
    assert states(classify((at(0), at(9)), M1, evidence)) == [(0, 9, "lost")]
    assert states(classify((at(0), at(9)), M1, evidence, GapRules(max_active=1))) == [(0, 9, "venue_outage")]


def test_the_recorded_outage_begins_a_minute_later_for_some() -> None:
    """2021-04-25: two pairs still have 04:01, all others lack 04:01 to 08:44."""
    down = Evidence(
        settled_until=LATER, witnesses=others(12), sibling_bars=siblings({0: 12, 1: 2, 285: 12}), states_empty_bars=True
    )
    early = classify((at(1), at(285)), M1, down)
    assert states(early) == [(1, 2, "venue_outage"), (2, 285, "venue_outage")]
    assert "2 of 12" in early[0].evidence["because"]
    late = Evidence(
        settled_until=LATER, witnesses=others(12), sibling_bars=siblings({0: 12, 1: 1, 285: 12}), states_empty_bars=True
    )
    assert states(classify((at(2), at(285)), M1, late)) == [(2, 285, "venue_outage")]
    # A trade in that minute outweighs the neighbourhood; most of the venue active does too.
    traded = Evidence(
        settled_until=LATER, witnesses=others(12), sibling_bars=siblings({0: 12, 1: 2}), states_empty_bars=True,
        trades=trades(1, 2, {7: 1.5}, None, None),
    )  # fmt: skip
    assert states(classify((at(1), at(285)), M1, traded)) == [(1, 2, "lost"), (2, 285, "venue_outage")]
    most = Evidence(settled_until=LATER, witnesses=others(12), sibling_bars=siblings({1: 11}), states_empty_bars=True)
    assert states(classify((at(1), at(285)), M1, most)) == [(1, 2, "lost"), (2, 285, "venue_outage")]


def test_where_silence_is_common_only_a_long_one_is_an_outage() -> None:
    """Two thin siblings with a bar in 30 % of all minutes are silent together in every second one."""
    thin: dict[str, Any] = {
        "settled_until": LATER,
        "witnesses": others(2, 0.3),
        "sibling_bars": siblings({9: 1}),
    }
    assert states(classify((at(0), at(9)), M1, Evidence(**thin))) == [(0, 9, "lost")]
    # two such recorded pairs were silent together for up to 17 minutes
    assert states(classify((at(10), at(70)), M1, Evidence(**thin))) == [(10, 70, "lost")]
    assert states(classify((at(0), at(200)), M1, Evidence(**thin))) == [(0, 10, "lost"), (10, 200, "venue_outage")]
    unknown = Evidence(**{**thin, "witnesses": others(2)})
    assert states(classify((at(10), at(300)), M1, unknown)) == [(10, 300, "lost")]


def test_attempts_run_out() -> None:
    few = Evidence(settled_until=LATER, attempts=4, max_attempts=5)
    enough = Evidence(settled_until=LATER, attempts=5, max_attempts=5)
    assert states(classify((at(0), at(3)), M1, few)) == [(0, 3, "lost")]
    (verdict,) = classify((at(0), at(3)), M1, enough)
    assert verdict.state is GapState.UNFILLABLE
    assert "5 spaced attempts" in verdict.evidence["because"]
    proven = Evidence(**busy(), attempts=9, contiguous_trade_ids=True, trades=trades(0, 3, {}, 1, 2))
    assert states(classify((at(0), at(3)), M1, proven)) == [(0, 3, "no_trade")]


def test_sibling_activity_counts_others_only() -> None:
    rows = [(name, at(minute)) for name, last in (("A-B", 9), ("C-D", 2), ("E-F", 1)) for minute in range(last)]
    present = pl.DataFrame(rows + rows[:1], schema={"instrument": pl.String, "open_time": UTC_MS}, orient="row")
    assert sibling_activity(present, "A-B", M1, at(0), at(9)).rows() == [(at(0), 2), (at(1), 1)]
    assert sibling_activity(present, "C-D", M1, at(3), at(5)).rows() == [(at(3), 1), (at(4), 1)]


@given(st.data(), st.sampled_from([Timeframe.M1, Timeframe.M5, Timeframe.H1]))
def test_verdicts_cover_the_span_and_can_be_stored(data: st.DataObject, timeframe: Timeframe) -> None:
    def moments() -> st.SearchStrategy[datetime | None]:
        return st.none() | st.integers(-100, 400).map(at)

    ids = sorted(data.draw(st.sets(st.integers(1, 50), max_size=6)))
    times = sorted(data.draw(st.lists(st.integers(0, 299), min_size=len(ids), max_size=len(ids))))
    proof = trades(
        0,
        300,
        dict(zip(ids, times, strict=True)),
        data.draw(st.sampled_from([None, 0])),
        data.draw(st.sampled_from([None, 51])),
    )
    evidence = Evidence(
        settled_until=data.draw(st.integers(-10, 400).map(at)),
        listed=data.draw(moments()),
        delisted=data.draw(moments()),
        witnesses=data.draw(st.none() | st.builds(others, st.integers(0, 3), st.none() | st.floats(0, 1))),
        sibling_bars=data.draw(st.none() | st.dictionaries(st.integers(0, 300), st.integers(0, 3)).map(siblings)),
        states_empty_bars=data.draw(st.booleans()),
        contiguous_trade_ids=data.draw(st.booleans()),
        attempts=data.draw(st.integers(0, 6)),
        answered_before=data.draw(st.booleans()),
        answered_after=data.draw(st.booleans()),
        trades=data.draw(st.sampled_from([None, proof])),
    )
    first = data.draw(st.integers(0, 200))
    span = timeframe.floor(at(first)), timeframe.ceil(at(first + data.draw(st.integers(1, 100))))
    verdicts = classify(span, timeframe, evidence)
    edges = [verdicts[0].start, *(one.end for one in verdicts)]
    assert (edges[0], edges[-1]) == span
    assert [one.start for one in verdicts] == edges[:-1]
    assert all(timeframe.floor(edge) == edge for edge in edges)
    assert all(one.state.open for one in verdicts)
    frame = verdict_frame("A-B", timeframe, verdicts)
    assert [json.loads(text) for text in frame["evidence"]] == [one.evidence for one in verdicts]
    assert all(one.evidence["because"].endswith(".") for one in verdicts)


@pytest.mark.parametrize("state", list(GapState))
def test_explained_or_not(state: GapState) -> None:
    assert state.explained == (state not in ("pending", "lost", "unproven", "healed"))


def test_a_venue_that_may_leave_out_anything_has_no_silence_without_proof() -> None:
    """Whatever other instruments do, and however often it was asked for: only trades explain."""
    about = {**busy(), **BOTH, "absence_is_silence": False}
    for attempts in (1, 2, 50):
        verdicts = classify((at(0), at(9)), M1, Evidence(**about, attempts=attempts))
        assert states(verdicts) == [(0, 9, "unproven")]
        verdicts = classify(
            (at(0), at(9)), M1, Evidence(settled_until=LATER, attempts=attempts, absence_is_silence=False)
        )
        assert states(verdicts) == [(0, 9, "unproven")], "nor where nothing else was asked for"
    asked = trades(-1, 5, {1: 2.5}, None, None)
    verdicts = classify((at(0), at(9)), M1, Evidence(**about, trades=asked, attempts=1))
    assert rules_of(verdicts) == [(2, "no_trade_shown"), (1, "traded"), (2, "no_trade_shown"), (4, "unproven")]
    assert [str(one.state) for one in verdicts] == ["no_trade", "lost", "no_trade", "unproven"]


def rules_of(verdicts: list[GapVerdict]) -> list[tuple[int, str]]:
    return [(int((one.end - one.start).total_seconds()) // 60, one.evidence["rule"]) for one in verdicts]


def test_a_long_silence_of_a_stock_that_nearly_always_trades_is_a_halt() -> None:
    asked = trades(0, 60, {1: 20.5}, None, None)
    about = {**busy(), **BOTH, "trades": asked, "attempts": 1}
    # 20 silent minutes, one in which there was a trade, 39 silent ones
    verdicts = classify((at(0), at(60)), M1, Evidence(**about, own_rate=0.99))
    assert rules_of(verdicts) == [(20, "halt"), (1, "traded"), (39, "halt")]
    assert {str(one.state) for one in verdicts} == {"no_trade", "lost"}
    assert verdicts[0].evidence["because"] == (
        "Trading was halted: nothing traded for 20 minutes of an instrument that has a bar in 99% of them, "
        "while 3 to 3 other instruments have bars."
    )
    # shorter silences, thin stocks, and what no exchange halts have no trade
    assert rules_of(classify((at(0), at(4)), M1, Evidence(**about, own_rate=0.99))) == [(4, "no_trade_empty")]
    assert rules_of(classify((at(0), at(20)), M1, Evidence(**about, own_rate=0.5))) == [(20, "no_trade_empty")]
    assert rules_of(classify((at(0), at(20)), M1, Evidence(**about))) == [(20, "no_trade_empty")]
