"""Take the pictures of the README from running deployments, in headless Chromium.

    python docs/pictures/take.py http://127.0.0.1:3000 http://127.0.0.1:3001

The first is complete and green; on the second a check fails (docs/faults.md says how to make one fail).
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

HERE = Path(__file__).parent
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60_000


def ask(base: str, query: str) -> Any:
    """One question to the UI's GraphQL."""
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(  # noqa: S310  (a URL that the caller typed)
        f"{base}/graphql", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return json.load(answer)["data"]


def quiet(base: str, page: Page) -> None:
    """Wait until no run is under way, so that nothing on the picture spins."""
    query = "{runsOrError(filter:{statuses:[STARTED,STARTING,QUEUED,NOT_STARTED]}){...on Runs{results{jobName}}}}"
    # ingest goes on for ever
    while any(run["jobName"] != "live_ingest" for run in ask(base, query)["runsOrError"]["results"]):
        page.wait_for_timeout(500)


def save(page: Page, name: str, part: Locator | None = None) -> None:
    """Write one picture, of the page or a part of it, with few colours so that it stays small."""
    png = page.screenshot() if part is None else part.screenshot()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    path = HERE / f"{name}.png"
    image.quantize(192, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path} {path.stat().st_size // 1000} kB")


def lineage(page: Page, base: str) -> None:
    """All groups of assets, green."""
    page.set_viewport_size({"width": 1400, "height": 640})
    quiet(base, page)
    page.goto(f"{base}/asset-groups")
    page.get_by_text("features").first.wait_for()
    page.wait_for_timeout(30_000)  # counts and icons come late, and nothing says when
    save(page, "lineage")


def sources(page: Page, base: str) -> None:
    """The lineage of a deployment with crypto of two venues, stocks and macro series: their groups opened."""
    page.set_viewport_size({"width": 1500, "height": 860})
    quiet(base, page)
    page.goto(f"{base}/asset-groups")
    page.get_by_text("features").first.wait_for()
    page.wait_for_timeout(20_000)
    for group in ("venues", "macro"):
        page.get_by_text(group, exact=True).last.click()
        page.wait_for_timeout(3_000)
    page.mouse.move(1020, 430)
    page.mouse.wheel(0, 470)  # opened groups reach below the window
    page.wait_for_timeout(5_000)
    save(page, "sources")


def automation(page: Page, base: str) -> None:
    """Schedules and sensors, with what each does."""
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"{base}/automation")
    page.get_by_text("recent_processor").first.wait_for()
    page.wait_for_timeout(30_000)  # the rows come late, and nothing says when
    save(page, "automation")


def partitions(page: Page, base: str) -> None:
    """Days of ohlc_1m, one of them chosen."""
    page.set_viewport_size({"width": 1440, "height": 900})
    newest = ask(base, '{assetNodeOrError(assetKey:{path:["ohlc_1m"]}){...on AssetNode{partitionKeys}}}')
    day = newest["assetNodeOrError"]["partitionKeys"][-2]
    page.goto(f"{base}/assets/ohlc_1m?view=partitions&partition={day}")
    page.get_by_text("rebuilt_from_trades").first.wait_for()
    page.wait_for_timeout(2000)
    save(page, "partitions")


def check(page: Page, base: str, name: str, *entries: str) -> None:
    """A check's page, and the pictures in its metadata."""
    page.set_viewport_size({"width": 1440, "height": 760})
    quiet(base, page)
    page.goto(f"{base}/assets/ohlc_1m?view=checks&checkDetail=accounted_for")
    page.get_by_text("Evaluation result").wait_for()
    page.wait_for_timeout(2000)
    save(page, name)
    for entry in entries:
        picture(page, name, entry)


def picture(page: Page, name: str, entry: str) -> None:
    """A picture in the metadata that is shown, opened."""
    row = page.locator("tr").filter(has=page.get_by_text(entry, exact=True)).last
    row.get_by_text("[Show Markdown]").click()
    dialog = page.locator(".bp5-dialog")
    dialog.locator("img").wait_for()
    page.wait_for_timeout(1000)
    save(page, f"{name}-{entry}", dialog)
    dialog.get_by_role("button", name="Close").click()
    dialog.wait_for(state="hidden")


def model(page: Page, base: str, strategy: str, name: str, *entries: str) -> None:
    """The page of a strategy's model after a training, and the pictures in its metadata."""
    page.set_viewport_size({"width": 1880, "height": 860})
    page.goto(f"{base}/assets/{strategy}_model?view=events")
    page.get_by_text("summary", exact=True).first.wait_for()
    page.wait_for_timeout(3000)
    save(page, name)
    for entry in entries:
        picture(page, name, entry)


def account(page: Page, base: str, asset: str, name: str, *entries: str) -> None:
    """The page of an asset of the paper account, and the pictures in its metadata."""
    page.set_viewport_size({"width": 1880, "height": 860})
    page.goto(f"{base}/assets/{asset}?view=events")
    page.get_by_text("dagster/row_count", exact=True).first.wait_for()
    page.wait_for_timeout(3000)
    save(page, name)
    for entry in entries:
        picture(page, name, entry)


def run(page: Page, base: str) -> None:
    """The timeline of the run that filled most."""
    page.set_viewport_size({"width": 1440, "height": 860})
    which = '{statuses:[SUCCESS],tags:[{key:"processor",value:"new_instruments"}]}'
    query = f"{{runsOrError(filter:{which}){{...on Runs{{results{{id}}}}}}}}"
    found = ask(base, query)["runsOrError"]["results"]
    page.goto(f"{base}/runs/{found[0]['id']}")
    page.get_by_text("ohlc_1d").first.wait_for()
    # The whole pane for the timeline: the button before this one.
    page.get_by_role("button", name="Re-execute all").locator("xpath=preceding::button[1]").click()
    page.wait_for_timeout(4000)
    save(page, "run")


def newest_run(base: str, job: str) -> str:
    """Id of the newest run of a job."""
    found = ask(base, f'{{runsOrError(filter:{{pipelineName:"{job}"}},limit:1){{...on Runs{{results{{id}}}}}}}}')
    return str(found["runsOrError"]["results"][0]["id"])


def events(page: Page, base: str, job: str, name: str, word: str, seen: str) -> None:
    """What the newest run of a job says of something: its events filtered by a word, until one of them is there."""
    page.set_viewport_size({"width": 1440, "height": 860})
    page.goto(f"{base}/runs/{newest_run(base, job)}")
    page.get_by_placeholder("Filter…").fill(word)
    page.get_by_text(seen).last.wait_for()
    page.wait_for_timeout(4000)
    save(page, name)


def main() -> None:
    """Take them all."""
    good, bad = sys.argv[1].rstrip("/"), sys.argv[2].rstrip("/")
    wanted = sys.argv[3:]
    browser = next(path for name in CHROMIUM if (path := shutil.which(name)))
    with sync_playwright() as play:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]
        window = play.chromium.launch(executable_path=browser, args=[*options, "--no-first-run", "--disable-sync"])
        page = window.new_context(timezone_id="UTC", locale="en-GB").new_page()
        page.set_default_timeout(PATIENCE)
        jobs = {
            "lineage": lambda: lineage(page, good),
            "sources": lambda: sources(page, good),
            "automation": lambda: automation(page, good),
            "partitions": lambda: partitions(page, good),
            "passing": lambda: check(page, good, "check-passing", "coverage"),
            "failing": lambda: check(page, bad, "check-failing", "coverage", "candles"),
            "run": lambda: run(page, good),
            "live-ingest": lambda: events(page, good, "live_ingest", "live-ingest", "trades", "instruments over"),
            "live-gap": lambda: events(page, bad, "live_gap_fill", "live-gap", "gap", "Yielded output"),
        }
        # of a deployment with bars of half a year, whose models have been trained
        curves = ("reliability", "profit", "learning", "importances")
        jobs["model"] = lambda: model(page, good, "dca", "model", *curves)
        jobs["insufficient"] = lambda: model(page, good, "channel", "model-insufficient")
        jobs["equity"] = lambda: account(page, good, "equity", "equity", "curve")
        jobs["trades"] = lambda: account(page, good, "trading/trades", "trades", "profit", "returns", "newest_trade")
        jobs["signals"] = lambda: account(page, good, "signals", "signals", "decisions")
        for name, job in jobs.items():
            if not wanted or name in wanted:
                job()
        window.close()


if __name__ == "__main__":
    main()
