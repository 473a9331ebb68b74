"""The chart in Chromium: what the canvas shows is what the API says, whatever happens to bars, server and page.

Guards I2, I3 and I10 (docs/invariants.md).
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from crypto_pipeline import Reader
from crypto_pipeline.market.corporate_actions import actions
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.builders.bars import bar, frame
from crypto_pipeline_tests.builders.charted_market import (
    BARS,
    CHARTED,
    CORRECTED,
    D1,
    END,
    FIRST_DAY,
    HOLE,
    HOLES,
    MINUTE,
    REVISED,
    stored_charted_market,
)
from crypto_pipeline_tests.builders.charted_page import DRAWN, Charted
from crypto_pipeline_tests.builders.databases import NewDatabase, shared_database
from crypto_pipeline_tests.builders.deployment import crowding
from crypto_pipeline_tests.builders.lean import NEW_YORK

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def database(new_database: NewDatabase) -> Iterator[Store]:
    with shared_database(new_database, "charted_in_tests") as url, Store(url) as store:
        stored_charted_market(store)
        yield store


@pytest.fixture(scope="module")
def served(database: Store) -> Iterator[Served]:
    with Served(Reader(database.url), load_settings()) as running:
        yield running


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, timezone_id="UTC", locale="en-GB")
    made = context.new_page()
    made.set_default_timeout(15_000 * crowding())
    yield made
    context.close()


@pytest.fixture
def charted(page: Page, database: Store, served: Served) -> Charted:
    return Charted(page, database, served.url)


def test_every_hole_has_the_colour_of_its_reason_and_its_tooltip_is_the_row_of_the_ledger(charted: Charted) -> None:
    charted.show()
    charted.until(f"() => {DRAWN}.painted.filter((one) => one.state !== 'unexplained').length === {len(HOLES) - 1}")
    colors = charted.page.evaluate("import('/web/js/chart/states.js').then(({STATES}) => STATES)")
    drawn = charted.drawn()
    assert {(one["state"], one["start"], one["end"]) for one in drawn["painted"]} == {
        (state, unix_ms(at), unix_ms(at + HOLE * MINUTE)) for state, at in HOLES.items()
    }
    picture = Image.open(io.BytesIO(charted.page.screenshot())).convert("RGB")
    ledger = {row["gap_id"]: row for row in charted.rows("gaps", instruments=CHARTED, timeframe="1m")}
    assert len(ledger) == len(HOLES) - 1
    for hole in drawn["painted"]:
        assert abs(hole["left"] + hole["width"] / HOLE / 2 - hole["first"]) <= 1, "from its first window to its last"
        color = colors[hole["state"]]["color"]
        assert "#{:02x}{:02x}{:02x}".format(*picture.getpixel((int(hole["x"]), int(hole["y"])))) == color, hole
        charted.page.mouse.move(hole["x"], hole["y"] - 60)
        tooltip = charted.page.locator(".chart-tooltip")
        tooltip.get_by_role("heading", name=colors[hole["state"]]["label"], exact=True).wait_for()
        if hole["state"] == "unexplained":
            continue
        told = {each.get_attribute("data-column"): each.inner_text() for each in tooltip.locator("dd").all()}
        row = ledger.pop(int(told["gap_id"]))
        assert (told["bars"], told["attempts"]) == (str(row["bars"]), str(row["attempts"]))
        assert told["start"] == row["start"].replace("T", " ")[:16]
        assert told["first_seen"] == row["first_seen"].replace("T", " ")[:19]
        evidence = row["evidence"]
        assert (told["because"], json.loads(told["seen"])) == (evidence["because"], evidence["seen"])
    assert ledger == {}, "every row of the ledger was hovered over"


def test_no_window_is_without_a_bar_and_without_a_hole(charted: Charted) -> None:
    charted.show()
    charted.page.locator(".chart-plot").focus()
    charted.page.keyboard.press("Home")  # the first loaded bar comes into sight, and older ones are loaded
    charted.until(f"() => {DRAWN}.slots > 1000")
    charted.equal()
    drawn = charted.drawn()
    times = {one["open_time"] for one in drawn["bars"]}
    holes = {at for one in drawn["holes"] for at in range(one["start"], one["end"], 60_000)}
    loaded = range(drawn["loaded"]["start"], drawn["loaded"]["end"], 60_000)
    assert times | holes == set(loaded)
    assert not times & holes
    assert drawn["slots"] == len(loaded)


def test_the_keyboard_reads_bars_and_holes(charted: Charted) -> None:
    from playwright.sync_api import expect

    charted.show()
    charted.page.locator(".chart-plot").focus()
    steps = (END - HOLES["pending"]) // MINUTE
    charted.page.keyboard.press("End")
    for _ in range(steps - HOLE):
        charted.page.keyboard.press("ArrowLeft")
    spoken = charted.page.locator("#chart [role=status][aria-live=polite]")
    expect(spoken).to_have_text(re.compile(r"^No bars from .*: pending\.", re.DOTALL))


def test_the_slider_shows_what_was_known_then(charted: Charted) -> None:
    charted.show()
    slider = charted.page.get_by_role("slider", name="As of")
    moments = set()
    slider.focus()
    for key in ("ArrowLeft", "ArrowLeft", *["PageDown"] * 4):
        charted.page.keyboard.press(key)
        charted.until(f"() => ![null, {min(moments, default=0)}].includes({DRAWN}.choice.asOf)")
        charted.equal()
        moments.add(charted.drawn()["choice"]["asOf"])
    assert min(moments) < unix_ms(CORRECTED) < max(moments), "before and after bars were corrected"
    charted.page.evaluate(f"document.getElementById('chart').chart.asOf({unix_ms(END - 2 * BARS * MINUTE)})")
    charted.page.get_by_text("no bars were stored then").wait_for()
    assert charted.drawn()["bars"] == []
    charted.page.get_by_role("button", name="Now", exact=True).click()
    charted.until(f"() => {DRAWN}.choice.asOf === null")
    charted.equal()
    assert charted.drawn()["loaded"]["attached"], "it follows the newest bar again"


def test_the_copies_of_a_bar_are_told(charted: Charted) -> None:
    charted.show()
    charted.until(f"() => {DRAWN}.marks.filter((one) => one.kind === 'revisions').length === {len(REVISED)}")
    mark = charted.drawn()["marks"][0]
    charted.page.mouse.move(mark["x"], mark["y"])
    table = charted.page.locator(".chart-tooltip table")
    table.wait_for()
    told = {each.get_attribute("data-column"): each.inner_text() for each in table.locator("td").all()}
    at = datetime.fromtimestamp(mark["time"] / 1000, END.tzinfo)
    (copy,) = charted.rows(f"revisions/{CHARTED}", timeframe="1m", start=at.isoformat(), end=(at + MINUTE).isoformat())
    assert {name: told[name] for name in ("open", "high", "low", "close", "volume")} == {
        name: json.dumps(copy[name]) for name in ("open", "high", "low", "close", "volume")
    }
    assert told["superseded_at"] == copy["superseded_at"].replace("T", " ")[:16]


def test_healing_and_a_revision_are_drawn_without_a_reload(charted: Charted) -> None:
    charted.show()
    charted.page.evaluate("window.loadedOnce = true")
    for minute in range(HOLE):
        charted.write(HOLES["lost"] + minute * MINUTE, price=150.0 + minute)
    charted.shows(HOLES["lost"], 150.5)
    charted.until(f"() => !{DRAWN}.holes.some((one) => one.state === 'lost')")
    charted.write(REVISED[0], price=123.0, revision=END + timedelta(days=2))
    charted.shows(REVISED[0], 123.5)
    charted.write(END, price=124.0)
    charted.shows(END, 124.5)
    old = END - timedelta(minutes=1_000)
    charted.page.evaluate(f"document.getElementById('chart').chart.goTo({unix_ms(old)})")
    charted.equal()
    charted.write(old, price=99.0, revision=END + timedelta(days=2))
    charted.shows(old, 99.5)
    assert charted.page.evaluate("window.loadedOnce")


def test_after_a_sleep_the_page_shows_what_came_meanwhile(charted: Charted, browser: Browser) -> None:
    charted.show()
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    pages = [process["id"] for process in processes if process["type"] == "renderer"]
    # a sleeping laptop: no timer runs, no message is taken
    for process in pages:
        os.kill(process, signal.SIGSTOP)
    try:
        charted.write(END + MINUTE, price=130.0)
        charted.write(END - 30 * MINUTE, price=131.0, revision=END + timedelta(days=2))
        for minute in range(HOLE):
            charted.write(HOLES["unexplained"] + minute * MINUTE, price=133.0)
    finally:
        for process in pages:
            os.kill(process, signal.SIGCONT)
    charted.shows(END + MINUTE, 130.5)
    charted.shows(END - 30 * MINUTE, 131.5)
    charted.until(f"() => !{DRAWN}.holes.some((one) => one.start === {unix_ms(HOLES['unexplained'])})")


def test_a_broken_connection_leaves_nothing_out(charted: Charted, served: Served) -> None:
    charted.show()
    # the page follows the stream: this comes by it
    charted.write(END - 70 * MINUTE, price=134.0, revision=END + timedelta(days=2))
    charted.shows(END - 70 * MINUTE, 134.5)
    streams = [one for one in served.server.server_state.connections if "WebSocket" in type(one).__name__]
    assert streams, "there is a connection to break"
    broken = threading.Event()

    def cut() -> None:
        for one in streams:
            one.transport.abort()  # type: ignore[union-attr]
        broken.set()

    served.server.servers[0].get_loop().call_soon_threadsafe(cut)
    assert broken.wait(10)
    charted.write(END - 71 * MINUTE, price=135.0, revision=END + timedelta(days=2))
    charted.shows(END - 71 * MINUTE, 135.5)


def test_bars_of_a_stock_are_adjusted_once_its_split_is_known(charted: Charted) -> None:
    charted.show("AAPL", "1d")
    charted.page.get_by_label("Adjusted for").select_option("splits")
    charted.until(f"() => {DRAWN}.choice.adjust === 'splits'")
    charted.equal()
    day = FIRST_DAY + timedelta(days=20)
    split = actions.split("AAPL", day.date(), NEW_YORK, 1, 7, seen_at=day, event_id="s1")
    charted.store.corporate_actions.record([split], "massive", seen_at=day)
    charted.store.bars.write(frame([bar("AAPL", FIRST_DAY + timedelta(days=40), price=106.0)]), D1)
    charted.shows(FIRST_DAY, 700.5 / 7)


def test_after_a_restart_of_the_server_the_chart_goes_on(charted: Charted, database: Store, browser: Browser) -> None:
    with Served(Reader(database.url), load_settings()) as first:
        context = browser.new_context(viewport={"width": 1200, "height": 800})
        own = Charted(context.new_page(), database, first.url)
        own.show()
    # nobody is there now
    own.write(END + 2 * MINUTE, price=140.0)
    own.write(END - 60 * MINUTE, price=141.0, revision=END + timedelta(days=2))
    with Served(Reader(database.url), load_settings(), port=first.port):
        own.shows(END + 2 * MINUTE, 140.5)
        own.shows(END - 60 * MINUTE, 141.5)
        context.close()


def test_the_loaded_span_is_bounded(charted: Charted) -> None:
    charted.show()
    kept = charted.page.evaluate("""async () => {
      const { BarWindow, MOST } = await import('/web/js/chart/bars.js');
      const window = new BarWindow('1m', true);
      const bar = (at) => ({ open_time: at * 60000, open: 1, high: 1, low: 1, close: 1, volume: 1 });
      const page = (from, to) => Array.from({ length: to - from }, (_, place) => bar(from + place));
      window.replace(page(MOST, 2 * MOST), MOST * 60000, 2 * MOST * 60000);
      window.replace(page(0, MOST), 0, MOST * 60000);
      const before = window.slots().length;
      window.trim('new');
      return { before, after: window.slots().length, bars: window.bars.size, end: window.end / 60000, MOST };
    }""")
    assert kept["before"] == 2 * kept["MOST"]
    assert kept["after"] == kept["bars"] == kept["end"] == kept["MOST"]
