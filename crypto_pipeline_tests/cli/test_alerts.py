"""``alerts``: acknowledging, muting, maintenance windows, and the test of channels against a stub of Slack."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from crypto_pipeline.store import Store
from crypto_pipeline_tests.builders.slack_stub import SlackStub
from crypto_pipeline_tests.cli.test_bad_input import Run, run

__all__ = ["run"]

PLANTED = "planted-secret-of-this-test"


@pytest.fixture
def slack() -> Iterator[SlackStub]:
    with SlackStub() as stub:
        yield stub


@pytest.fixture
def alert(postgres_url: str) -> str:
    """Id of an open alert."""
    with Store(postgres_url) as store:
        store.checks.raise_alert("clock", "error", "the clock is 7 s ahead")
        return str(store.checks.open_alerts()["alert_id"][0])


def test_an_alert_is_acknowledged_and_muted(run: Run, postgres_url: str, alert: str) -> None:
    code, out, _ = run("alerts", "ack", alert, "--by", "ada", DATABASE_URL=postgres_url)
    assert (code, out) == (0, f"ada works on alert {alert}: no reminder is sent; its end will be\n")
    code, out, _ = run("alerts", "mute", alert, "--for", "2h")
    assert code == 0
    assert f"messages about alert {alert} are muted until " in out
    code, out, _ = run("alerts", "list")
    assert code == 1
    assert f"ada works on {alert}; {alert} is muted until" in " ".join(out.split())
    assert json.loads(run("alerts", "--json")[1])[0]["alerts"][0]["id"] == int(alert)
    assert run("alerts", "mute", alert, "--off")[1] == f"messages about alert {alert} are sent again\n"
    assert "muted" not in run("alerts")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ack", "99"), "alert 99 is not open: `crypto-pipeline alerts` lists those that are"),
        (("mute", "99", "--for", "1h"), "alert 99 is not open"),
        (("mute", "1"), "say for how long, --for 2h"),
        (("mute", "1", "--for", "two"), "--for 'two': give a length of time as 30m, 2h or 1d"),
        (("window", "--end", "7"), "--end 7: there is no such window"),
        (("test",), "no channel is set: give CRYPTO_PIPELINE_SLACK_WEBHOOK"),
    ],
)
def test_bad_input_is_one_clear_line(run: Run, postgres_url: str, words: tuple[str, ...], said: str) -> None:
    code, _, error = run("alerts", *words, DATABASE_URL=postgres_url)
    assert code == 2
    assert said in error


def test_maintenance_windows_are_added_listed_and_ended(run: Run, postgres_url: str) -> None:
    assert run("alerts", "window", DATABASE_URL=postgres_url)[1] == "no maintenance window is planned\n"
    code, out, _ = run("alerts", "window", "--for", "1h", "--source", "disk*", "--reason", "a bigger disk")
    assert code == 0
    assert "disk*  a bigger disk" in out
    (window,) = json.loads(run("alerts", "window", "--json")[1])
    assert run("alerts", "window", "--end", str(window["id"]))[1] == "no maintenance window is planned\n"


def test_a_test_goes_through_every_channel(run: Run, postgres_url: str, slack: SlackStub) -> None:
    slack.troubles.extend(["ok", "error:channel_not_found", "500"])
    given = {
        "DATABASE_URL": postgres_url,
        "SLACK_WEBHOOK": f"{slack.url}/services/{PLANTED}",
        "SLACK_TOKEN": f"xoxb-{PLANTED}",
        "SLACK_CHANNEL": "C1",
        "SLACK_API_URL": f"{slack.url}/api",
    }
    code, out, error = run("alerts", "test", **given)
    assert code == 1
    assert out.splitlines() == [
        "slack_webhook          sent: ok",
        "slack_channel          refused: Slack answers channel_not_found",
    ]
    assert "nothing is wrong" in slack.texts()[0]
    with Store(postgres_url) as store:
        stored = str(store.connections.rows("SELECT t::text FROM ops.outbox t, ops.notification_channels"))
    assert PLANTED not in out + error + stored
    code, _, error = run("alerts", "test", SLACK_WEBHOOK="", SLACK_TOKEN="", SLACK_CHANNEL="")
    assert code == 2
    assert "The deployment itself sends through slack_channel, slack_webhook: its settings came with" in error


def test_other_channels_go_through_apprise(
    run: Run, postgres_url: str, slack: SlackStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("apprise")
    address = slack.url.removeprefix("http://")
    given = {"DATABASE_URL": postgres_url, "APPRISE_URLS": f"json://{address}/{PLANTED} nonsense://{PLANTED}"}
    code, out, error = run("alerts", "test", **given)
    assert code == 1
    assert out.splitlines() == [
        "apprise_1              sent: ok",
        "apprise_2              refused: apprise does not understand the address of apprise_2: its wiki shows the form",
    ]
    assert slack.taken[0].body["title"].startswith("Test from ")
    assert PLANTED not in out + error
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    code, out, _ = run("alerts", "test")
    assert "apprise_1              refused: apprise is not installed: pip install 'crypto-pipeline[notify]'" in out
