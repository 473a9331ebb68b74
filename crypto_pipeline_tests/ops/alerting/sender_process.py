"""What a test kills: a process that does nothing but send the messages of one channel."""

from __future__ import annotations

import httpx  # noqa: F401  (so that the fork server has it, and a child begins at once)
from pydantic import SecretStr

from crypto_pipeline.ops.alerting.channels.slack import SlackWebhook
from crypto_pipeline.ops.alerting.delivery import Delivery
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.operations.notifications.outbox import Outbox

#: Seconds for which a message is claimed here: those of a killed process are free again after that.
CLAIM = 0.4


def send_until_killed(database: str, hook: str) -> None:
    """Send whatever is due, as fast as it goes."""
    delivery = Delivery(
        Outbox(Connections(database, 1)), SlackWebhook("hook", SecretStr(hook)), rate=0, claim_seconds=CLAIM
    )
    while True:
        delivery.send_next()
