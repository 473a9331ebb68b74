"""A report from a real database: contents, the file, the message, and that it is made and sent once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.ops.reports.build import build_report
from crypto_pipeline.ops.reports.content import ReportContent, ReportSection, ReportTable
from crypto_pipeline.ops.reports.html import report_html
from crypto_pipeline.ops.reports.publish import publish
from crypto_pipeline.ops.reports.registry import SectionDefinition, sections_of
from crypto_pipeline.ops.reports.sections import models
from crypto_pipeline.ops.reports.slack import report_message
from crypto_pipeline.ops.reports.source import ReportSource
from crypto_pipeline.settings import Settings, load_settings
from crypto_pipeline.store import Store
from crypto_pipeline.store.operations.notifications.reports import Reports
from crypto_pipeline_tests.builders.bars import add_symbols, series

DAY = date(2026, 3, 29)
TODAY = datetime.now(UTC).astimezone(ZoneInfo("Europe/Berlin")).date()
SECRET = "planted-secret-of-this-test"
#: One forecast of four steps that has expired: three of them were inside of its 80 % interval.
_SCORED_FORECASTS = """
WITH one AS (
    INSERT INTO market.instruments (symbol, asset_class, base, quote, tier)
    VALUES ('BTC-USDT', 'crypto', 'BTC', 'USDT', 'large') RETURNING instrument_id
), fit AS (
    INSERT INTO research.forecast_fits (fitted_to, instrument_id, horizon, model, fit, digest)
    SELECT '2026-01-01Z', instrument_id, '1h', 'drift', '{}', 'd' FROM one RETURNING fit_id, instrument_id
), published AS (
    INSERT INTO research.forecasts
        (fit_id, moment, expires, anchor, instrument_id, horizon, model, direction, targets, quantiles, naive)
    SELECT fit_id, '2026-01-01Z', '2026-01-02Z', 1, instrument_id, '1h', 'drift', 'HOLD',
           array_fill('2026-01-02Z'::timestamptz, '{4}'), array_fill(0::real, '{20}'), array_fill(0::real, '{20}')
    FROM fit RETURNING forecast_id
)
INSERT INTO research.forecast_scores (forecast_id, seen, pinball, naive_pinball, inside_80, inside_95)
SELECT forecast_id, '{0,0,0,0}', '{0.8,0.8,0.8,0.8}', '{1,1,1,1}', '{t,t,t,f}', '{t,t,t,t}' FROM published
"""


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    with Store(postgres_url) as opened:
        yield opened


@pytest.fixture
def settings(postgres_url: str, tmp_path: Path) -> Settings:
    return load_settings(
        data_dir=tmp_path, database_url=postgres_url, slack_webhook=f"http://127.0.0.1:9/{SECRET}",
        deployment_name="here", report_time_zone="Europe/Berlin",
    )  # fmt: skip


def by_name(content: ReportContent) -> dict[str, ReportSection]:
    return {one.name: one for one in content.sections}


def fill(store: Store) -> None:
    """Bars of the last two hours, without the newest, and things that went wrong."""
    add_symbols(store)
    start = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)
    store.bars.write(series(count=110, start=start), Timeframe.M1)
    for _ in range(3):
        store.checks.raise_alert("run:make_backup", "error", "run 1 failed: the disk is <full>")
        store.checks.resolve_alert("run:make_backup")
    store.checks.raise_alert("clock", "critical", "7 s ahead")


def test_a_morning_report_tells_what_is_stored(store: Store, settings: Settings, postgres_url: str) -> None:
    fill(store)
    content = build_report(settings, store, postgres_url, "morning", datetime.now(UTC).date())
    sections = by_name(content)
    assert list(sections) == [one.name for one in sections_of("morning")]
    assert not any("cannot be made" in one.headline for one in content.sections)
    assert content.sections[0].name == "score"
    assert re.match(r"\d+ of \d+ checks are ok", sections["score"].headline)
    assert "min before the report" in sections["freshness"].headline
    minute = next(row for row in sections["freshness"].tables[0].rows if row[1] == "1m")
    assert minute[2] == "4 of 4"
    assert ("venue_historical", 440) in {(row[2], row[3]) for row in sections["bars"].tables[0].rows}
    assert sections["bars"].charts["1m bars by hour"].startswith(b"\x89PNG")
    assert sections["disk"].charts["Disk"].startswith(b"\x89PNG")
    incidents = {row[0]: row for row in sections["incidents"].tables[0].rows}
    assert incidents["run:make_backup"][1:4] == ("error", 3, False)
    assert incidents["clock"][1:4] == ("critical", 1, True)


def test_one_section_that_fails_costs_itself(store: Store, settings: Settings, postgres_url: str) -> None:
    def fails(source: ReportSource) -> ReportSection:
        raise ValueError(SECRET)

    def works(source: ReportSource) -> ReportSection:
        return ReportSection("b", "B", "fine", "good")

    sections = [SectionDefinition("a", "A", ("morning",), fails), SectionDefinition("b", "B", ("morning",), works)]
    content = build_report(settings, store, postgres_url, "morning", DAY, sections)
    assert [one.headline for one in content.sections] == [
        "This section cannot be made (ValueError); the log of the run says why.",
        "fine",
    ]


def test_a_report_is_made_and_sent_once(store: Store, settings: Settings, postgres_url: str) -> None:
    fill(store)
    first = publish(settings, store, postgres_url, "afternoon", TODAY)
    again = publish(settings, store, postgres_url, "afternoon", TODAY)
    other = publish(settings, store, postgres_url, "afternoon", DAY)
    assert (first.new, again.new, other.new) == (True, False, True)
    rows = store.connections.rows("SELECT key, channel, kind, body FROM ops.outbox ORDER BY id")
    assert [row[:3] for row in rows] == [
        (f"report:afternoon:{TODAY}", "slack_webhook", "report"),
        ("report:afternoon:2026-03-29", "slack_webhook", "report"),
    ]
    stored = Reports(store.connections).get("afternoon", TODAY)
    assert stored is not None
    assert stored.time_zone == "Europe/Berlin"
    assert [one["name"] for one in stored.content["sections"]] == [one.name for one in sections_of("afternoon")]
    page = first.file.read_text()
    assert page.count("data:image/png;base64,") == len(first.content.charts())
    assert "the disk is &lt;full&gt;" in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == [], "the file needs nothing else"
    assert str(first.file) in rows[0][3]["text"]
    everything = [page, str(rows), str(stored)]
    assert not any(SECRET in text for text in everything)


def test_a_report_fits_into_slack() -> None:
    wide = ReportTable(("check", "because"), [(f"check {number}", "word " * 200) for number in range(300)], "Bad")
    sections = [ReportSection(f"s{number}", "Title", "headline " * 300, "bad", [wide]) for number in range(40)]
    content = ReportContent("morning", DAY, "UTC", datetime(2026, 3, 28, 17, tzinfo=UTC), datetime(2026, 3, 29, 9, tzinfo=UTC), "here", sections)  # fmt: skip # noqa: E501
    message = report_message(content, {}, "/reports/report.html")
    assert len(message.blocks) <= 50
    assert all(len(block["text"]["text"]) <= 3000 for block in message.blocks if "text" in block)
    assert "<script" not in report_html(content)


def test_models_and_forecasts_are_told_of_by_their_scores_alone(
    store: Store, settings: Settings, postgres_url: str
) -> None:
    """Without a model in use, a matured prediction or an expired forecast there is no figure to show."""
    source = ReportSource(
        settings, store, postgres_url, "afternoon", datetime.now(UTC) - timedelta(hours=8), datetime.now(UTC),
        datetime.now(UTC),
    )  # fmt: skip
    ages = models.ages(source)
    assert ages.headline == "0 of 3 strategies have a model in use; the others go by their rules."
    assert [row[1:4] for row in ages.tables[0].rows] == [(None, None, "boost")] * 3
    assert models.matured(source).headline == "None has matured yet."
    assert models.forecasts(source).tables == ()
    with psycopg.connect(postgres_url) as connection:
        connection.execute(_SCORED_FORECASTS)
    told = models.forecasts(source)
    assert told.headline == "1 forecasts have been scored against what came."
    assert told.tables[0].rows == [("1h", 1, 75.0, 100.0, 0.8)]
