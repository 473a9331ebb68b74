"""The file archive: first for long spans, verified, and REST for whatever it lacks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.venues import BarsAnswer, BinanceSpot, FetchPlan
from crypto_pipeline.venues.binance.archive import pieces, read_csv
from crypto_pipeline.venues.binance.bars import PAGE
from crypto_pipeline_tests.builders.scripted_binance import ScriptedVenue, csv_of, hanging, ms, status, zipped

KLINES = "/api/v3/klines"
Make = Callable[..., BinanceSpot]
FEB = datetime(2026, 2, 1, tzinfo=UTC)
MAR = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MODIFIED = datetime(2026, 3, 2, 4, 5, 6, tzinfo=UTC)


def monthly(month: datetime) -> str:
    return f"/data/spot/monthly/klines/AB/1m/AB-1m-{month:%Y-%m}.zip"


def daily(day: datetime) -> str:
    return f"/data/spot/daily/klines/AB/1m/AB-1m-{day:%Y-%m-%d}.zip"


async def fetch(venue: BinanceSpot, start: datetime, end: datetime) -> list[BarsAnswer]:
    answers = [answer async for answer in venue.bars(FetchPlan("A-B", "AB", Timeframe.M1, [(start, end)]))]
    assert (answers[0].start, answers[-1].end) == (start, end)
    assert all(one.end == two.start for one, two in itertools.pairwise(answers))
    return answers


def together(answers: list[BarsAnswer]) -> pl.DataFrame:
    return pl.concat(answer.bars for answer in answers)


@pytest.mark.parametrize("form", [{}, {"header": True}, {"micro": True}, {"header": True, "micro": True}])
async def test_all_forms_of_file_say_the_same_as_rest(server: ScriptedVenue, make: Make, form: dict[str, Any]) -> None:
    start, end = FEB, FEB + 3 * DAY
    rest = together([a async for a in make().bars(FetchPlan("A-B", "AB", Timeframe.M1, [(start, end)]), archive=False)])
    for number in range(3):
        server.publish(daily(FEB + number * DAY), csv_of(FEB + number * DAY, FEB + (number + 1) * DAY, **form))
    asked = server.count(KLINES)
    answers = await fetch(make(), start, end)
    assert {answer.origin for answer in answers} == {"archive"}
    assert server.count(KLINES) == asked
    bars = together(answers)
    assert bars.drop("revision").equals(rest.drop("revision"))
    assert bars["revision"].unique().to_list() == [MODIFIED]
    assert answers[0].stated_at == MODIFIED


async def test_months_then_days_then_rest(server: ScriptedVenue, make: Make) -> None:
    start, end = FEB - 2 * DAY + timedelta(hours=5), MAR + DAY + timedelta(hours=2)
    server.publish(monthly(FEB), csv_of(FEB, MAR))
    server.publish(daily(FEB - DAY), csv_of(FEB - DAY, FEB))  # 1 March has no file (yet)
    answers = await fetch(make(), start, end)
    assert together(answers)["open_time"].to_list() == list(Timeframe.M1.open_times(start, end))
    archived = [(answer.start, answer.end) for answer in answers if answer.origin == "archive"]
    assert archived == [(FEB - DAY, FEB), (FEB, MAR)]
    assert server.count(daily(MAR)) == 1


async def test_month_not_there_falls_back_to_days(server: ScriptedVenue, make: Make) -> None:
    for number in range(28):
        if number != 13:
            server.publish(daily(FEB + number * DAY), csv_of(FEB + number * DAY, FEB + (number + 1) * DAY))
    answers = await fetch(make(), FEB, MAR)
    assert together(answers).height == 28 * 1440
    assert next(answer.start for answer in answers if answer.origin == "rest") == FEB + 13 * DAY


async def test_short_spans_and_coarse_bars_ask_rest(server: ScriptedVenue, make: Make) -> None:
    await fetch(make(), FEB, FEB + 2 * DAY)
    hourly = FetchPlan("A-B", "AB", Timeframe.H1, [(FEB, MAR)])
    assert sum([answer.bars.height async for answer in make().bars(hourly)]) == 28 * 24
    assert not any("/data/" in path for path, _ in server.requests)


async def test_rest_is_asked_where_the_file_lacks_bars(server: ScriptedVenue, make: Make) -> None:
    start, end = FEB, FEB + 3 * DAY
    mine, absent = ms(FEB) + 1234 * 60_000, ms(FEB + DAY) + 77 * 60_000
    server.holes = {absent}
    for number in range(3):
        text = csv_of(FEB + number * DAY, FEB + (number + 1) * DAY, skip={mine, absent})
        server.publish(daily(FEB + number * DAY), text)
    bars = together(await fetch(make(), start, end))
    assert bars.height == 3 * 1440 - 1
    assert mine in bars["open_time"].dt.epoch("ms")
    # 440 bars of day 1 (second window) and 1000 of day 2 (first window), besides the short page's follow-up
    assert {query["startTime"] for path, query in server.requests if path == KLINES} == {
        str(ms(FEB) + 60_000_000), str(ms(FEB + DAY)),
    }  # fmt: skip


async def test_a_row_of_a_file_that_cannot_be_is_told_and_had_from_rest(server: ScriptedVenue, make: Make) -> None:
    for number in range(3):
        text = csv_of(FEB + number * DAY, FEB + (number + 1) * DAY)
        if number == 1:
            rows = text.splitlines()
            fields = rows[77].split(b",")
            rows[77] = b",".join([*fields[:5], b"1e308", *fields[6:]])
            text = b"\n".join(rows) + b"\n"
        server.publish(daily(FEB + number * DAY), text)
    answers = await fetch(make(), FEB, FEB + 3 * DAY)
    assert together(answers).height == 3 * 1440
    (one,) = [row for answer in answers for row in answer.refused]
    assert "larger than anything" in one.reason
    assert one.ms == ms(FEB + DAY) + 77 * 60_000


@pytest.mark.parametrize("damage", ["checksum", "zip", "rows", "columns", "outside", "no checksum", "hanging", "500"])
async def test_a_corrupt_file_is_fetched_again_and_then_rest_stands_in(
    server: ScriptedVenue, make: Make, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = daily(FEB)
    text = csv_of(FEB, FEB + DAY)
    for number in range(1, 3):
        server.publish(daily(FEB + number * DAY), csv_of(FEB + number * DAY, FEB + (number + 1) * DAY))
    match damage:
        case "checksum":
            server.publish(path, text, checksum="0" * 64)
        case "zip":
            server.publish(path, text)
            server.files[path] = broken = zipped(text)[:-50]
            import hashlib

            server.checksums[path] = hashlib.sha256(broken).hexdigest()
        case "rows":
            server.publish(path, text[:-40])
        case "columns":
            server.publish(path, text.replace(b",0\n", b",0,9,9\n"))
        case "outside":
            server.publish(path, csv_of(FEB + DAY, FEB + 2 * DAY))
        case "no checksum":
            server.publish(path, text)
            server.always(path + ".CHECKSUM", status(404))
        case "hanging":
            server.always(path, hanging)
        case "500":
            server.always(path, status(500))
    venue = make(timeout=0.5) if damage == "hanging" else make()
    answers = await fetch(venue, FEB, FEB + 3 * DAY)
    assert together(answers).height == 3 * 1440
    # a row that is cut off costs its window, not the file
    assert [answer.origin for answer in answers[:2]] == ["archive" if damage == "rows" else "rest", "rest"]
    if damage in ("checksum", "zip", "rows", "outside"):
        assert server.count(path) == 2
        assert f"corrupt archive file {server.url}{path}" in caplog.text


async def test_a_file_that_was_being_replaced_is_good_the_second_time(server: ScriptedVenue, make: Make) -> None:
    for number in range(3):
        server.publish(daily(FEB + number * DAY), csv_of(FEB + number * DAY, FEB + (number + 1) * DAY))
    server.script(daily(FEB) + ".CHECKSUM", status(200, "f" * 64))
    assert {answer.origin for answer in await fetch(make(), FEB, FEB + 3 * DAY)} == {"archive"}


def test_a_bad_line_of_csv_costs_itself() -> None:
    good = b"60000,1,2,0.5,1.5,10,119999,15,4,1,1,0\n"
    for line in (b"1,2,3\n", b"a\n", b"1,x,3,4,5,6,7,8,9,10,11,12\n", b"\xff\xfe\n"):
        frame, refused = read_csv(good + line + good.replace(b"60000", b"120000"))
        assert frame["open_time"].to_list() == [60_000, 120_000]
        assert [(one.ms, "\n" in one.reason) for one in refused] == [(None, False)]
    assert read_csv(b"")[0].is_empty()


moments = st.integers(0, 400 * 1440).map(lambda minute: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minute))


@given(st.sampled_from(list(Timeframe)), moments, moments)
@settings(deadline=None)
def test_pieces_cover_the_span_exactly(timeframe: Timeframe, one: datetime, two: datetime) -> None:
    start, end = timeframe.floor(min(one, two)), timeframe.floor(max(one, two))
    cut = list(pieces(timeframe, start, end, PAGE))
    if start == end:
        assert cut == []
        return
    assert (cut[0].start, cut[-1].end) == (start, end)
    assert all(a.end == b.start for a, b in itertools.pairwise(cut))
    assert all(piece.start < piece.end for piece in cut)
    assert not any(a.kind == b.kind == "rest" for a, b in itertools.pairwise(cut))
    for piece in cut:
        if piece.kind == "monthly":
            assert piece.start.day == piece.end.day == 1
        if piece.kind != "rest":
            assert timeframe.count(piece.start, piece.end) > PAGE
