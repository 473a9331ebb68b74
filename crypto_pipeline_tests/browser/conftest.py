"""A Chromium, a deployment with three instruments and a few days, and a page that remembers what went wrong on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crypto_pipeline_tests.builders.deployment import Deployment, crowding

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
#: A name of somebody else that is pointed at this machine.
REBOUND = "evil.example"
QUIET = (
    f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1",
    "--disable-background-networking",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
)
#: Two of the three instruments lack these days until the fault is lifted.
HIDDEN = ("BTC-USDT", "ETH-USDT")
_TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
FIRST, END = _TODAY - timedelta(days=3), _TODAY


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser; tests are skipped where there is none."""
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no Chromium on this machine: none of {', '.join(CHROMIUM)} is in PATH")
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")
    return found


# A module, not the session: while Playwright's synchronous face is open an event loop counts as running in
# this thread, and no later test could call asyncio.run.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        window = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", *QUIET])
        yield window
        window.close()


@pytest.fixture(scope="package")
def house(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """`up` on free ports, whose exchange hides three days of two instruments until `replay fault clear`.

    One for all files here: the attacks of another origin leave nothing behind, which is what their test shows.
    """
    hidden = [
        {"kind": "missing_range", "symbol": symbol, "start": FIRST.isoformat(), "end": END.isoformat()}
        for symbol in HIDDEN
    ]
    script = tmp_path_factory.mktemp("faults") / "hidden.json"
    script.write_text(json.dumps(hidden))
    deployment = Deployment(
        "--instruments", ",".join([*HIDDEN, "SOL-USDT"]), "--days", "4", replay_faults=str(script), heal_backoff="0.001"
    )  # fmt: skip
    try:
        yield deployment.start()
    finally:
        deployment.stop()


class Watched:
    """A page, with every error that it logged, threw or showed."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.errors: list[str] = []
        page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, path: str) -> Page:
        """Go there."""
        self.page.goto(self.base + path)
        return self.page


@pytest.fixture
def watched(browser: Browser, house: Deployment, tmp_path: Path) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, timezone_id="UTC", locale="en-GB")
    page = context.new_page()
    page.set_default_timeout(60_000 * crowding())
    yield Watched(page, house.state.urls["ui"])
    context.close()


@pytest.fixture
def patience() -> Callable[[float], float]:
    """Milliseconds to wait for something that takes so many seconds on a machine of our own."""
    return lambda seconds: seconds * 1000 * crowding()
