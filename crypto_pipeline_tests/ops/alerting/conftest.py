"""A stub of Slack, an outbox, and messages to send."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from crypto_pipeline.ops.alerting.channels.slack import SlackBot, SlackWebhook
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.operations.notifications.outbox import Outbox
from crypto_pipeline_tests.builders.slack_stub import TOKEN, SlackStub


@pytest.fixture
def slack() -> Iterator[SlackStub]:
    with SlackStub() as stub:
        yield stub


@pytest.fixture
def connections(postgres_url: str) -> Iterator[Connections]:
    opened = Connections(postgres_url, 4, patience=5.0)
    yield opened
    opened.close()


@pytest.fixture
def outbox(connections: Connections) -> Outbox:
    return Outbox(connections)


@pytest.fixture
def webhook(slack: SlackStub) -> SlackWebhook:
    return SlackWebhook("hook", SecretStr(f"{slack.url}/services/T0/B0/planted-secret"), answer_seconds=0.3)


@pytest.fixture
def bot(slack: SlackStub) -> SlackBot:
    return SlackBot("bot", SecretStr(TOKEN), "C0123", f"{slack.url}/api", answer_seconds=0.3)
