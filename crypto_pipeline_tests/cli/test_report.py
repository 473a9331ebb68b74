"""``report``: shown, as JSON, as a file; nothing is stored or sent."""

from __future__ import annotations

import json
from pathlib import Path

from crypto_pipeline.store import Store
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]


def test_a_report_is_shown_and_written_and_not_sent(run: Run, postgres_url: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    given = {"DATABASE_URL": postgres_url, "SLACK_WEBHOOK": "http://127.0.0.1:9/hook", "DEPLOYMENT_NAME": "here"}
    code, out, _ = run("report", "afternoon", "--json", "--html", str(page), **given)
    assert code == 0
    content = json.loads(out)
    assert (content["report"], content["deployment"]) == ("afternoon", "here")
    assert content["sections"][0]["name"] == "score"
    assert page.read_text().startswith("<!doctype html>")
    code, out, _ = run("report")
    assert code == 0
    assert out.startswith("Morning report of ")
    assert "Checks: " in out
    with Store(postgres_url) as store:
        assert store.connections.row(
            "SELECT (SELECT count(*) FROM ops.outbox), (SELECT count(*) FROM ops.reports)"
        ) == (
            0,
            0,
        )


def test_an_unknown_report_is_named(run: Run, postgres_url: str) -> None:
    code, _, error = run("report", "evening", DATABASE_URL=postgres_url)
    assert code == 2
    assert "unknown report 'evening': use morning or afternoon" in error
