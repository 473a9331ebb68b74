"""What the settings say about messages: their origin, and when alerts are announced."""

from __future__ import annotations

import socket
from datetime import timedelta

from crypto_pipeline.ops.alerting.alert_messages import Sender
from crypto_pipeline.ops.alerting.policy import AlertRules
from crypto_pipeline.settings import Settings


def sender_of(settings: Settings) -> Sender:
    """What messages of this deployment say of their origin."""
    return Sender(settings.deployment_name or socket.gethostname(), settings.docs_url)


def rules_of(settings: Settings) -> AlertRules:
    """When alerts of this deployment are announced."""
    hours = settings.alert_remind_hours
    return AlertRules(settings.alert_severity, remind=timedelta(hours=hours) if hours else None)
