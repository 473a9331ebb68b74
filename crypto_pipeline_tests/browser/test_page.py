"""The live page as a person uses it: in Chromium, with a pointer, with keys, by a screen reader, on a telephone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from crypto_pipeline import Reader
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.browser.conftest import REBOUND, Watched
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.page_database import NOW, page_database, page_price

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.browser

TOKEN = "open sesame"
TELEPHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESK = {"viewport": {"width": 1440, "height": 900}}
#: Chromium's own lines about answers that are no success.
_STATUS = "Failed to load resource"


@pytest.fixture(scope="module")
def url(new_database: NewDatabase) -> Iterator[str]:
    with page_database(new_database, "page_in_browser_tests") as made:
        yield made


@pytest.fixture(scope="module")
def server(url: str) -> Iterator[Served]:
    with Served(Reader(url, patience=2.0), load_settings()) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(url: str) -> Iterator[Served]:
    # opening the page takes more requests at once than this rate allows
    settings = Settings(**{**load_settings().model_dump(), "api_token": TOKEN, "api_rate": 8.0})
    with Served(Reader(url, patience=2.0), settings) as running:
        yield running


@contextmanager
def opened(browser: Browser, base: str, **options: Any) -> Iterator[Watched]:
    context = browser.new_context(timezone_id="Asia/Tokyo", locale="en-GB", **{**DESK, **options})
    try:
        yield Watched(context.new_page(), base)
    finally:
        context.close()


@pytest.fixture
def shown(browser: Browser, server: Served) -> Iterator[Page]:
    """The page once its watchlist and cards are read; nothing may go wrong on it."""
    with opened(browser, server.url) as watched:
        refused: list[str] = []
        watched.page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
        page = watched.open("/")
        read(page)
        yield page
        assert [address for address in refused if "/forecasts/" not in address] == []  # there are none yet
        assert [line for line in watched.errors if not line.startswith(_STATUS)] == []


def read(page: Page) -> None:
    """Wait until everything was read once."""
    page.locator("#watchlist-rows tr").first.wait_for()
    page.locator("#shadow").wait_for()
    from playwright.sync_api import expect

    # no function that is told as text: the page's policy lets nobody evaluate one
    expect(page.locator("#cards > [aria-busy=true]")).to_have_count(0, timeout=30_000)
    expect(page.locator(".failed:visible")).to_have_count(0, timeout=30_000)
    expect(page.locator("#connection")).to_have_text(re.compile("^live"), timeout=30_000)


def cells(page: Page, instrument: str) -> list[str]:
    return page.locator(f'#watchlist-rows [data-key="{instrument}"] > *').all_inner_texts()


def test_the_watchlist_is_what_http_says_and_text_stays_text(shown: Page, server: Served) -> None:
    btc, eth = httpx.get(f"{server.url}/watchlist").json()["rows"]
    assert cells(shown, "BTC-USDT")[:3] == ["BTC-USDT", "201.000", "+100.00 %"]
    assert cells(shown, "BTC-USDT")[4] == f"3, {btc['holes']} absent"
    assert cells(shown, "ETH-USDT") == ["ETH-USDT", "–", "–", "–", f"0, {eth['holes']} absent"]
    assert re.fullmatch(r"\d+ s", cells(shown, "BTC-USDT")[3])
    assert shown.locator("#alerts li").inner_text().startswith("error one <b>thing</b>: it is wrong")
    assert shown.locator("#alerts b").count() == 0
    assert shown.locator("#clock").inner_text().startswith("08:0"), "the market's time, in UTC"
    assert shown.url.endswith("#/BTC-USDT/15m")
    assert shown.title().startswith("BTC-USDT 15m")
    for age in shown.locator(".card .title .age").all_inner_texts():
        assert re.fullmatch(r"read \d+ s", age)


def test_a_price_moves_as_soon_as_it_is_stored(shown: Page, url: str) -> None:
    with Store(url) as store:
        store.live.flush("replay", prices=[page_price(402.0, NOW + timedelta(seconds=9), 10)])
        shown.get_by_role("cell", name="402.000").wait_for(timeout=5_000)
        shown.locator('#watchlist-rows [data-key="BTC-USDT"]').get_by_text("+300.00 %").wait_for(timeout=5_000)
        store.live.flush("replay", prices=[page_price(201.0, NOW + timedelta(seconds=10), 11)])


def test_an_alert_is_shown_as_soon_as_it_is_raised(shown: Page, url: str) -> None:
    with Store(url) as store:
        store.checks.raise_alert("disk", "critical", "it is full")
        shown.locator("#alerts li").get_by_text("disk: it is full").wait_for(timeout=5_000)
        store.checks.resolve_alert("disk")
        shown.locator("#alerts li").get_by_text("disk: it is full").wait_for(state="detached", timeout=5_000)


def test_everything_is_done_with_keys(shown: Page) -> None:
    from playwright.sync_api import expect

    press = shown.keyboard.press

    def stands_at(place: str) -> None:
        expect(shown).to_have_url(re.compile(re.escape(f"#/{place}") + "$"))

    press("Tab")
    expect(shown.locator(":focus")).to_have_text("Skip to the chart")
    press("/")
    shown.keyboard.type("eth 1h")
    expect(shown.locator("#search-found [aria-selected=true]")).to_have_text("ETH-USDT 1h")
    press("Enter")
    stands_at("ETH-USDT/1h")
    expect(shown.locator('[data-key="ETH-USDT"]')).to_have_attribute("aria-current", "true")
    press("j")
    press("7")
    stands_at("BTC-USDT/1d")
    shown.go_back()
    stands_at("BTC-USDT/1h")
    press("?")
    expect(shown.locator("#help")).to_be_visible()
    press("j")
    press("Escape")
    expect(shown.locator("#help")).to_be_hidden()
    stands_at("BTC-USDT/1h")  # no key works behind a dialog
    press("t")
    expect(shown.locator("html")).to_have_attribute("data-theme", "light")
    shown.locator("#help-open").click()
    shown.locator("#help-on").uncheck()
    press("Escape")
    press("j")
    press("t")
    assert shown.evaluate("document.documentElement.dataset.theme") == "light", "single keys are switched off"
    stands_at("BTC-USDT/1h")


@pytest.mark.parametrize(("device", "theme"), [("desk", "light"), ("telephone", "dark")])
def test_axe_finds_no_serious_fault_and_nothing_is_cut_off(
    browser: Browser, server: Served, device: str, theme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core comes with pip install -e '.[test]'")
    program = (Path(axe.__file__).parent / "axe.min.js").read_text()
    options = TELEPHONE if device == "telephone" else DESK
    # the page's own policy lets nobody add a script to it
    with opened(browser, server.url, color_scheme=theme, bypass_csp=True, **options) as watched:
        page = watched.open("/")
        read(page)
        page.evaluate(program)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)")
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.locator("#help-open").click()
        found = page.evaluate("axe.run('#help').then(found => found.violations)")
        assert [one["id"] for one in found] == []


def test_no_table_is_cut_off_on_a_desk(browser: Browser, server: Served) -> None:
    names = ("BTC-USDT", "ETH-USDT", "SOL-USDT", "DOGE-USDT", "1000SHIB-USDT")
    at = "2021-04-24T03:00:00.000Z"
    silent = {"because": "The whole venue was silent: 0 of 20 other instruments have a bar, and it stated none."}
    row: dict[str, Any] = {
        "last_price": 0.00002312, "price_time": "2021-04-25T09:00:00.000Z", "age_s": 2.0, "venue": "replay",
        "source": "live_aggregated",
        "bars": 1380, "holes": 117, "explained": 1440, "change_24h": -0.1234, "gap_id": 1, "timeframe": "1m",
        "start": at, "end": at, "state": "venue_outage", "evidence": silent, "note": None, "strategy": "mean_reversion",
        "signal_ts": at, "entry_ts": at, "exit_ts": at, "average_price": 64321.01, "price": 64321.01,
        "unrealised_pnl": "-1234.56", "stop_loss_price": 61321.01, "take_profit_price": 68321.01, "accepted": False,
        "decision_price": 64321.01, "reason": "no room: exposure", "size": "1234.56", "exit_price": 65001.12,
        "outcome": "take_profit", "pnl": "1234.56",
    }  # fmt: skip
    rows = [row | {"instrument": name} for name in names]
    with opened(browser, server.url) as watched:

        def told(route: Route) -> None:
            held = {"rows": rows, "next": None, "positions": rows, "signals": rows, "trades": rows, "as_of": at}
            route.fulfill(json=held)

        for name in ("watchlist", "gaps", "positions", "signals", "trades"):
            watched.page.route(re.compile(rf"/{name}(\?|$)"), told)
        page = watched.open("/")
        read(page)
        for width in (1400, 1500, 1850, 1920):
            page.set_viewport_size({"width": width, "height": 1400})
            found = page.evaluate(
                "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth)"
                ".map((one) => [one.ariaLabel, one.scrollWidth, one.clientWidth])"
            )
            assert found == [], width
        assert page.locator("#positions table").count() + page.locator("#watchlist-rows tr").count() > 5


def test_the_token_is_typed_kept_in_the_tab_and_never_in_an_address(browser: Browser, guarded: Served) -> None:
    with opened(browser, guarded.url) as watched:
        asked: list[str] = []
        watched.page.on("request", lambda request: asked.append(request.url))
        watched.page.on("websocket", lambda socket: asked.append(socket.url))
        page = watched.open("/")
        type_token(page, "sesame")
        page.get_by_text("The server does not take this token.").wait_for()
        type_token(page, TOKEN)
        read(page)
        assert page.evaluate("sessionStorage.getItem('token')") == TOKEN
        assert TOKEN not in page.evaluate("JSON.stringify(localStorage) + document.cookie")
        with page.expect_websocket(lambda socket: "/stream?ticket=" in socket.url):
            page.reload()
            read(page)
        assert all("sesame" not in address for address in asked)
        # the rate refuses a part of what a page asks at once, its socket too; the page asks again
        told = [line for line in watched.errors if not line.startswith(_STATUS)]
        assert [line for line in told if not line.endswith("Unexpected response code: 429")] == []
        another = page.context.new_page()
        another.goto(guarded.url)
        another.locator("#token-text").wait_for()


def type_token(page: Page, text: str) -> None:
    page.locator("#token-text").fill(text)
    page.get_by_role("button", name="Use it").click()


def test_without_the_server_every_figure_says_how_old_it_is(browser: Browser, server: Served) -> None:
    from playwright.sync_api import expect

    with opened(browser, server.url) as watched:
        page, context = watched.page, watched.page.context
        page.clock.install()
        watched.open("/")
        read(page)
        page.wait_for_load_state("networkidle")  # an answer that is on its way would be read while the clock jumps
        context.set_offline(True)
        page.clock.run_for(400_000)
        # requests fail in the network's time, not in that of the page's clock
        expect(page.locator("#connection")).to_have_text(re.compile("^no answer"), timeout=30_000)
        assert re.fullmatch(r"[67] min", cells(page, "BTC-USDT")[3])
        assert "old" in (page.locator('[data-key="BTC-USDT"] .age').get_attribute("class") or "")
        for age in page.locator(".card .title .age").all_inner_texts():
            assert re.fullmatch(r"read [67] min", age)
        context.set_offline(False)
        page.clock.run_for(12_000)
        read(page)


#: What a page of another origin may try, with what comes of each.
_ATTACKS = """
async base => {
  const quietly = promise => promise.then(answer => answer.type + ' ' + answer.status, () => 'blocked');
  const loaded = (name, attributes) => new Promise(done => {
    const made = Object.assign(document.createElement(name), attributes);
    made.onload = () => done('loaded'); made.onerror = () => done('blocked'); document.body.append(made);
  });
  const socket = url => new Promise(done => {
    const line = new WebSocket(url); line.onopen = () => done('open'); line.onerror = () => done('refused');
  });
  const plain = {method: 'POST', mode: 'no-cors', headers: {'Content-Type': 'text/plain'}, body: '{}'};
  return {
    read: await quietly(fetch(base + '/watchlist')),
    opaque: await quietly(fetch(base + '/watchlist', {mode: 'no-cors'})),
    page: await quietly(fetch(base + '/web/js/app.js', {mode: 'no-cors'})),
    script: await loaded('script', {src: base + '/web/js/theme.js'}),
    module: await quietly(import(base + '/web/js/api.js')),
    picture: await loaded('img', {src: base + '/web/icon.svg'}),
    ticket: await quietly(fetch(base + '/stream/ticket', plain)),
    socket: await socket(base.replace('http', 'ws') + '/stream'),
  };
}
"""


def test_a_page_of_another_origin_neither_reads_nor_writes_nor_shows_it(
    browser: Browser, server: Served, guarded: Served
) -> None:
    with opened(browser, server.url) as watched:
        page = watched.page
        page.route("http://elsewhere.localhost/", lambda route: route.fulfill(content_type="text/html", body="<p>"))
        for base in (server.url, guarded.url):
            page.goto("http://elsewhere.localhost/")
            told = page.evaluate(_ATTACKS, base)
            assert told.pop("socket") == "refused"
            assert set(told.values()) == {"blocked"}, told
            page.set_content(f'<iframe name="inside" src="{base}/"></iframe>')
            page.wait_for_load_state("networkidle")
            inside = page.frame("inside")
            assert inside is None or "Watchlist" not in inside.content()
        rebound = page.goto(f"http://{REBOUND}:{server.port}/")
        assert rebound is not None
        assert rebound.status == 403
        refused = httpx.post(f"{server.url}/stream/ticket", headers={"origin": "http://elsewhere.localhost"})
        assert refused.status_code == 403
        assert json.loads(refused.text)["status"] == 403
