"""What the chart draws besides bars and holes: the forecast with its bands, and what the paper account did."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from crypto_pipeline import Reader
from crypto_pipeline.forecasts.stored.update import bring_up_to_date
from crypto_pipeline.settings import load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.trading.stored.replay import replay_trading
from crypto_pipeline_tests.api.conftest import Served
from crypto_pipeline_tests.builders.charted_page import DRAWN, Charted
from crypto_pipeline_tests.builders.databases import NewDatabase
from crypto_pipeline_tests.builders.forecast_market import store_market
from crypto_pipeline_tests.builders.trading_market import FREQUENT, FROM, book, stored_trading_market

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, timezone_id="UTC", locale="en-GB")
    yield context.new_page()
    context.close()


def moment(text: str) -> str:
    """A time of the API as the tooltip writes it."""
    return text.replace("T", " ")[:16]


def hover(charted: Charted, title: str, at: dict[str, float]) -> dict[str | None, str]:
    """The tooltip of what is at a point: texts by column."""
    charted.page.mouse.move(at["x"], at["y"])
    tooltip = charted.page.locator(".chart-tooltip")
    tooltip.get_by_role("heading", name=title, exact=True).wait_for()
    return {each.get_attribute("data-column"): each.inner_text() for each in tooltip.locator("dd").all()}


def test_the_forecast_is_drawn_with_its_bands(new_database: NewDatabase, page: Page) -> None:
    with new_database("charted_forecast") as url, Store(url) as store:
        store_market(store, ("BTC-USDT",))
        bring_up_to_date(store)
        with Served(Reader(url), load_settings()) as served:
            charted = Charted(page, store, served.url)
            charted.show("BTC-USDT", "1h")
            charted.until(f"() => {DRAWN}.bands.length > 0")
            drawn = charted.drawn()
            said = httpx.get(f"{served.url}/forecasts/BTC-USDT?horizon=1h").json()
            names = ("low_95", "low_80", "median", "high_80", "high_95")
            prices = [{name: step[name] for name in names} for step in said["steps"]]
            assert [{name: step[name] for name in names} for step in drawn["forecast"]["steps"]] == prices
            lowest = [step["y"]["low_95"] for step in drawn["bands"]]
            assert lowest == sorted(lowest), "further ahead the band is wider: its lower edge is further down"
            first = drawn["bands"][0]
            told = hover(charted, "Forecast of 1h", {"x": first["x"], "y": first["y"]["median"]})
            assert told["target"] == moment(said["steps"][0]["target"])
            assert float(told["low_95"]) == prices[0]["low_95"]
            page.get_by_role("button", name="forecast").click()
            charted.until(f"() => {DRAWN}.forecast === null")


def test_the_account_is_drawn_where_it_traded(new_database: NewDatabase, page: Page) -> None:
    settings, until = load_settings(label_parameters=FREQUENT), FROM + timedelta(days=3)
    with new_database("charted_trading") as url, Store(url) as store:
        stored_trading_market(store, 8, absent=0)
        book(store, replay_trading(store, settings, FROM, until))
        store.clock.learn("replay", until)
        with Served(Reader(url), settings) as served:
            charted = Charted(page, store, served.url)
            charted.show("BTC-USDT", "15m")
            asked = {"instrument": "BTC-USDT", "limit": 500}
            said = {
                each: httpx.get(f"{served.url}/{each}", params=asked).json()[each] for each in ("trades", "signals")
            }
            positions = httpx.get(f"{served.url}/positions?instrument=BTC-USDT").json()["positions"]
            held = sum(one["average_price"] is not None for one in positions)
            # each kind is asked for by itself
            charted.until(f"() => {DRAWN}.all_marks.length >= {2 * len(said['trades']) + len(said['signals']) + held}")
            charted.until(f"() => {DRAWN}.marks.length > 0")
            drawn = charted.drawn()
            kinds = [mark["kind"] for mark in drawn["all_marks"]]
            assert kinds.count("trade") == 2 * len(said["trades"]) > 0
            assert kinds.count("signal") == len(said["signals"]) > 0
            assert kinds.count("position") == held
            levels = [line["price"] for line in drawn["lines"] if line["dashed"]]
            planned = [one[name] for one in (*said["trades"], *positions) for name in _LEVELS]
            assert sorted(levels) == sorted(price for price in planned if price is not None)
            newest = said["trades"][0]
            exits = [mark for mark in drawn["marks"] if mark["price"] == newest["exit_price"]]
            told = hover(charted, "Closed trade", exits[0])
            assert_told(told, newest)


_LEVELS = ("stop_loss_price", "take_profit_price")


def assert_told(told: dict[str | None, str], row: dict[str, Any]) -> None:
    assert (told["exit_ts"], told["outcome"], told["pnl"]) == (moment(row["exit_ts"]), row["outcome"], row["pnl"])
    assert float(told["average_price"]) == row["average_price"]
