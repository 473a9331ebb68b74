"""The page with its chart in Chromium, compared with what the API says."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.market.times import unix_ms
from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.bars import bar, frame
from crypto_pipeline_tests.builders.charted_market import CHARTED
from crypto_pipeline_tests.builders.deployment import crowding

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: Whether the chart shows what the API says of the span that it has loaded; what differs, where it does not.
_DIFFERENCE = """
async () => {
  const drawn = document.getElementById("chart").chart.drawn();
  if (!drawn.settled || !drawn.loaded || drawn.loaded.start === drawn.loaded.end) return "not drawn yet";
  const { instrument, timeframe, asOf, adjust } = drawn.choice;
  const iso = (moment) => new Date(moment).toISOString();
  const { start, end } = drawn.loaded;
  const asked = { timeframe, start: iso(start), end: iso(end), final_only: false, limit: 50000, adjust };
  if (asOf !== null) asked.as_of = iso(asOf);
  const rows = (await (await fetch(`/bars/${instrument}?${new URLSearchParams(asked)}`)).json()).bars;
  const names = ["open", "high", "low", "close", "volume"];
  const text = (row) => JSON.stringify([Number(new Date(row.open_time)), ...names.map((name) => row[name])]);
  const [said, shown] = [rows.map(text), drawn.bars.map(text)];
  const missing = said.filter((row) => !shown.includes(row));
  const extra = shown.filter((row) => !said.includes(row));
  if (!said.length) return "the API has no bars";
  return missing.length || extra.length ? { missing: missing.slice(0, 3), extra: extra.slice(0, 3) } : null;
}
"""
#: What the chart shows, in the page.
DRAWN = "document.getElementById('chart').chart.drawn()"
# Playwright's own waiting evaluates text in the page, which the page's security policy forbids.
_UNTIL = """
async (milliseconds) => {
  const end = performance.now() + milliseconds;
  while (!(await (%s)())) {
    if (performance.now() > end) return false;
    await new Promise((done) => setTimeout(done, 40));
  }
  return true;
}
"""


class Charted:
    """The page with its chart, and the database behind it."""

    def __init__(self, page: Page, store: Store, url: str) -> None:
        self.page, self.store, self.url = page, store, url

    def show(self, instrument: str = CHARTED, timeframe: str = "1m") -> None:
        self.page.goto("about:blank")  # the address differs in its last part only: it would not be loaded anew
        self.page.goto(f"{self.url}/#/{instrument}/{timeframe}")
        chart = "document.getElementById('chart')?.chart"
        self.until(f"() => {chart}?.drawn().choice.instrument === '{instrument}'")
        self.equal()

    def drawn(self) -> Any:
        return self.page.evaluate(DRAWN)

    def until(self, condition: str, seconds: float = 15) -> None:
        """Wait until a function of the page returns true."""
        assert self.page.evaluate(_UNTIL % condition, 1000 * seconds * crowding()), (
            f"not within {seconds} s: {condition}"
        )

    def equal(self) -> None:
        """Wait until the chart shows what the API says."""
        same = f"async () => (await ({_DIFFERENCE})()) === null"
        assert self.page.evaluate(_UNTIL % same, 15_000 * crowding()), self.page.evaluate(_DIFFERENCE)

    def shows(self, moment: datetime, close: float) -> None:
        """Wait until the bar of a moment has this close, and everything is as the API says."""
        self.until(f"() => {DRAWN}.bars.some((one) => one.open_time === {unix_ms(moment)} && one.close === {close})")
        self.equal()

    def write(self, at: datetime, **values: Any) -> None:
        """Store a 1m bar."""
        self.store.bars.write(frame([bar(CHARTED, at, **values)]), Timeframe.M1)

    def rows(self, path: str, **asked: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/{path}", params=asked).json()["rows"]
        return found
