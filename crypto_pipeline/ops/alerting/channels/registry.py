"""The channels that the settings name. A further kind of channel is added here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import SecretStr

from crypto_pipeline.ops.alerting.channels.apprise_urls import AppriseChannel
from crypto_pipeline.ops.alerting.channels.result import DeliveryChannel, Purpose
from crypto_pipeline.ops.alerting.channels.slack import SlackBot, SlackWebhook
from crypto_pipeline.settings import Settings


def configured_channels(settings: Settings) -> list[DeliveryChannel]:
    """Every channel of the settings; what is set is used, so that a message may go by several."""
    return [*_webhooks(settings), *_bots(settings), *_apprise(settings)]


def channels_for(purpose: Literal["alerts", "reports"], channels: Iterable[DeliveryChannel]) -> list[str]:
    """Names of the channels to which alerts, or reports, go."""
    return [one.name for one in channels if one.purpose in (purpose, "both")]


def _webhooks(settings: Settings) -> Sequence[DeliveryChannel]:
    found: list[DeliveryChannel] = []
    if settings.slack_webhook is not None:
        purpose: Purpose = "both" if settings.slack_webhook_alerts is None else "reports"
        found.append(SlackWebhook("slack_webhook", settings.slack_webhook, purpose))
    if settings.slack_webhook_alerts is not None:
        found.append(SlackWebhook("slack_webhook_alerts", settings.slack_webhook_alerts, "alerts"))
    return found


def _bots(settings: Settings) -> Sequence[DeliveryChannel]:
    token, general, alerts = settings.slack_token, settings.slack_channel, settings.slack_channel_alerts
    if token is None:
        return []
    found: list[DeliveryChannel] = []
    if general:
        purpose: Purpose = "both" if alerts is None else "reports"
        found.append(SlackBot("slack_channel", token, general, settings.slack_api_url, purpose))
    if alerts:
        found.append(SlackBot("slack_channel_alerts", token, alerts, settings.slack_api_url, "alerts"))
    return found


def _apprise(settings: Settings) -> Sequence[DeliveryChannel]:
    urls = settings.apprise_urls.get_secret_value().split() if settings.apprise_urls is not None else []
    return [AppriseChannel(f"apprise_{number}", SecretStr(url)) for number, url in enumerate(urls, 1)]
