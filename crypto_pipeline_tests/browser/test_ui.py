"""What a newcomer does first, done in Chromium on the running thing."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from crypto_pipeline.cli.context import deployment_settings
from crypto_pipeline.market import Timeframe
from crypto_pipeline.store import Store, resolve_url
from crypto_pipeline_tests.browser.conftest import END, FIRST, HIDDEN, Watched
from crypto_pipeline_tests.builders.deployment import Deployment
from crypto_pipeline_tests.builders.places import PROJECT

pytestmark = [pytest.mark.browser, pytest.mark.faults, pytest.mark.slow]

#: What must be on each page that the first steps name before it counts as rendered.
ON_PAGE = {
    "/asset-groups": "features",  # groups, closed until somebody opens them
    "/assets/ohlc_1m": "One-minute bars as the venue states them",
    "/assets/ohlc_1m?view=partitions": f"{END:%Y-%m-%d}",
    "/assets/ohlc_1m?view=checks": "rollup_conservation",
    "/jobs": "backfill_bars",
    "/automation": "historical_gap_monitor",
    "/runs": "Launched by",
}
FIRST_STEPS = PROJECT / "docs" / "first-steps.md"


def test_first_steps_name_the_pages_that_are_tried() -> None:
    named = set(re.findall(r"http://127\.0\.0\.1:3000(/[\w/?=&-]*)", FIRST_STEPS.read_text()))
    assert named == set(ON_PAGE)


@pytest.mark.parametrize("path", ON_PAGE)
def test_page_renders_without_errors(watched: Watched, path: str) -> None:
    page = watched.open(path)
    page.get_by_text(ON_PAGE[path]).locator("visible=true").first.wait_for()
    page.wait_for_load_state("networkidle")
    assert page.get_by_text("Unexpected error").count() == 0
    assert page.locator(".bp5-toast.bp5-intent-danger").count() == 0
    assert page.get_by_text("GraphQL error").count() == 0
    assert watched.errors == []


def test_backfill_of_three_days_for_two_instruments(
    watched: Watched, house: Deployment, patience: Callable[[float], float]
) -> None:
    # The first backfill could not get them: the check says so.
    page = watched.open("/assets/ohlc_1m?view=checks&checkDetail=accounted_for")
    page.get_by_text("Failed", exact=True).first.wait_for(timeout=patience(120))
    assert present(house) == dict.fromkeys(HIDDEN, 0)
    assert house.command("replay", "fault", "clear").returncode == 0

    page = watched.open("/locations/crypto_pipeline/jobs/backfill_bars")
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.locator(".bp5-dialog").filter(has_text="Partition selection")
    dialog.get_by_role("button", name="Custom").click()
    days = dialog.locator("input[type=text]").first
    days.fill(f"[{FIRST:%Y-%m-%d}...{END - timedelta(days=1):%Y-%m-%d}]")
    days.press("Enter")
    dialog.get_by_text("3 partitions").wait_for()
    dialog.get_by_text("Config", exact=True).click()
    dialog.get_by_role("button", name="Add config").click()
    editor = page.locator(".bp5-dialog").filter(has_text="Config Editor")
    editor.locator(".CodeMirror").click()
    page.keyboard.insert_text(f"{{resources: {{scope: {{config: {{instruments: [{', '.join(HIDDEN)}]}}}}}}}}")
    editor.get_by_text("No errors").wait_for()
    editor.get_by_role("button", name="Save config").click()
    dialog.get_by_text("Config saved").wait_for()
    dialog.get_by_role("button", name="Launch backfill").click()
    dialog.wait_for(state="hidden")

    page = watched.open("/runs?view=backfills")
    # Automation may have backfills of its own in the list.
    row = page.locator("[class*=VirtualizedTable_row]").filter(has_text="3 partitions").filter(has_text="Manually")
    row.get_by_text("Success", exact=True).wait_for(timeout=patience(180))
    row.get_by_text("View", exact=True).click()
    page.get_by_text("100% completed").wait_for()
    page.get_by_text("Succeeded", exact=True).first.wait_for()
    assert watched.errors == []
    # All three days of both came, in every timeframe, or are explained.
    assert all(count >= 3 * 1380 for count in present(house).values())
    assert missing(house, FIRST, END) == 0


def store(house: Deployment) -> Store:
    return Store(resolve_url(deployment_settings(house.data_dir)))


def present(house: Deployment) -> dict[str, int]:
    """One-minute bars of the three days that are in the table."""
    with store(house) as opened:
        bars = opened.reader.read(HIDDEN, Timeframe.M1, FIRST, END)
    return {name: bars.filter(instrument=name).height for name in HIDDEN}


def missing(house: Deployment, start: datetime, end: datetime) -> int:
    """Bars of 1m … 1d that are neither there nor explained."""
    daily = [timeframe for timeframe in Timeframe if timeframe is not Timeframe.W1]
    with store(house) as opened:
        cells = opened.coverage.cells(daily, start, end, HIDDEN)
    return int((cells["expected"] - cells["present"] - cells["explained"]).sum())
