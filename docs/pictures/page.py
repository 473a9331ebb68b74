"""Take the pictures of the live page from a running deployment, in headless Chromium.

    python docs/pictures/page.py http://127.0.0.1:8790

The deployment has traded on paper and has a hole: `up` with its defaults, some minutes later.
"""

from __future__ import annotations

import shutil
import sys
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from take import CHROMIUM, save


def opened(browser: Browser, url: str, width: int, height: int, theme: str) -> Page:
    """The page in a new window, once everything was read."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=theme, timezone_id="UTC", locale="en-GB",  # type: ignore[arg-type]
        is_mobile=width < 600, has_touch=width < 600,
    )  # fmt: skip
    page = context.new_page()
    page.goto(url)
    page.locator("#watchlist-rows tr").first.wait_for()
    page.locator("#shadow[aria-busy=false]").wait_for()
    page.wait_for_timeout(4_000)
    return page


def ask(page: Page, path: str) -> Any:
    """JSON of the server of the page."""
    return page.evaluate("path => fetch(path).then(answer => answer.json())", path)


def traded(page: Page) -> str:
    """An instrument that is held, else one that was traded, else the first one."""
    for path, rows in (("/positions", "positions"), ("/trades?limit=1", "trades"), ("/watchlist", "rows")):
        found = ask(page, path)[rows]
        if found:
            return str(found[0]["instrument"])
    raise SystemExit("nothing is collected there")


def until(page: Page, what: str, *given: Any) -> Any:
    """Wait until a function of the page's chart, such as ``drawn => drawn.settled``, gives something."""
    for _ in range(300):
        found = page.evaluate(f"given => ({what})(window.page.chart.drawn(), ...given)", list(given))
        if found:
            return found
        page.wait_for_timeout(100)
    raise SystemExit(f"the chart does not come to: {what}")


def hole(page: Page, url: str) -> None:
    """The newest hole of the first instrument that has one, with its words."""
    rows = [row for row in ask(page, "/gaps?timeframe=1m&limit=5000")["rows"] if row["bars"] > 3]
    if not rows:
        raise SystemExit("there is no hole of 1m: docs/faults.md says how to make one")
    chosen = max(rows, key=lambda row: row["start"])
    page.goto(f"{url}/#/{chosen['instrument']}/1m")
    until(page, "(drawn, name) => drawn.settled && drawn.choice.instrument === name", chosen["instrument"])
    begin = page.evaluate("text => Date.parse(text)", chosen["start"])
    page.evaluate("moment => window.page.chart.goTo(moment)", begin)
    spot = until(
        page, "(drawn, at) => drawn.settled && drawn.painted.find(one => one.start <= at && at < one.end)", begin
    )
    page.wait_for_timeout(1_000)
    page.mouse.move(spot["x"], spot["y"])
    page.wait_for_timeout(1_000)
    save(page, "page-hole", page.locator("#chart"))


def main() -> None:
    """Take them all."""
    url = sys.argv[1].rstrip("/")
    browser_path = next(path for name in CHROMIUM if (path := shutil.which(name)))
    with sync_playwright() as play:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]
        browser = play.chromium.launch(executable_path=browser_path, args=[*options, "--no-first-run"])
        page = opened(browser, url, 1440, 940, "light")
        address = f"{url}/#/{traded(page)}/15m"
        page.goto(address)
        page.wait_for_timeout(4_000)
        save(page, "page")
        hole(page, url)
        dark = opened(browser, address, 1440, 1000, "dark")
        dark.locator("#account").scroll_into_view_if_needed()
        dark.evaluate("() => scrollTo(0, document.getElementById('cards').offsetTop - 70)")
        dark.wait_for_timeout(1_000)
        save(dark, "page-cards")
        save(opened(browser, address, 390, 844, "light"), "page-telephone")
        browser.close()


if __name__ == "__main__":
    main()
