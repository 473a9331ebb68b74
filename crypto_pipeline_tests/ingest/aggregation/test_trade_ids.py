"""Spans of trade ids: known, missing between two that are known, and joined in any order."""

from hypothesis import given
from hypothesis import strategies as st

from crypto_pipeline.ingest.aggregation.trade_ids import IdHole, IdSpans

NUMBERS = st.integers(1, 30)


def runs(known: set[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for number in sorted(known):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


@given(st.lists(st.tuples(st.sampled_from(["add", "discard", "forget"]), NUMBERS), max_size=80))
def test_spans_are_a_set(steps: list[tuple[str, int]]) -> None:
    spans, known = IdSpans(), set[int]()
    for what, number in steps:
        if what == "add":
            assert spans.add(number, number * 10) == (number not in known)
            known.add(number)
        elif what == "discard":
            spans.discard(number)
            known.discard(number)
        else:
            spans.forget_upto(number // 2)
            known = {each for each in known if each > number // 2}
        assert [(span[0], span[1]) for span in spans.spans] == runs(known)
    holes = spans.holes()
    missing = set(range(min(known, default=1), max(known, default=0) + 1)) - known
    assert {number for hole in holes for number in range(hole.first, hole.last + 1)} == missing
    for first in range(1, 31):
        for last in range(first, min(first + 4, 31)):
            inside = known.issuperset(range(first, last + 1))
            expected = (inside, inside and first - 1 in known, inside and last + 1 in known)
            assert spans.around(first, last) == expected


@given(st.sets(NUMBERS, min_size=2))
def test_holes_carry_the_times_of_their_neighbours_and_can_be_voided(known: set[int]) -> None:
    spans = IdSpans()
    for number in sorted(known):
        spans.add(number, number * 10)
    for hole in spans.holes():
        assert hole == IdHole(hole.first, hole.last, (hole.first - 1) * 10, (hole.last + 1) * 10)
        spans.void(hole)
    assert [span[:2] for span in spans.spans] == [[min(known), max(known)]]


def test_a_span_ends_where_the_individual_trades_do_not_run_on() -> None:
    spans = IdSpans()
    for number, first, last in [(1, 70, 70), (2, 71, 72), (3, 75, 75), (4, 76, 76)]:
        spans.add(number, number * 10, first, last)
    assert [span[:2] for span in spans.spans] == [[1, 2], [3, 4]]
    assert spans.holes() == [IdHole(3, 2, 20, 30)]
    assert spans.around(1, 2) == (True, False, False)
    # REST states it otherwise
    spans.discard(3, 75, 75)
    spans.add(3, 30, 73, 75)
    assert [span[:2] for span in spans.spans] == [[1, 4]]


@given(st.permutations(range(8)), st.integers(1, 7))
def test_a_contradiction_is_found_in_whatever_order_the_ids_come(order: list[int], odd: int) -> None:
    spans = IdSpans()
    for number in order:
        single = 100 + number + (5 if number >= odd else 0)
        spans.add(number, number, single, single)
    assert [span[:2] for span in spans.spans] == [[0, odd - 1], [odd, 7]]
    spans.void(spans.holes()[0])
    assert [span[:2] for span in spans.spans] == [[0, 7]]
