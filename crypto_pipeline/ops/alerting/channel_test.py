"""A test message through one channel: by the outbox, as every message, but at once and by this process."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from crypto_pipeline.ops.alerting.alert_messages import Sender, trial_message
from crypto_pipeline.ops.alerting.channels.result import LONGEST_SEND, DeliveryChannel, DeliveryResult
from crypto_pipeline.store.database.pool import Connections
from crypto_pipeline.store.operations.notifications.outbox import Outbox


def send_test(
    connections: Connections, channel: DeliveryChannel, sender: Sender, *, wait_seconds: float = 2.0
) -> DeliveryResult:
    """Send a test message, and return how the channel answered. A test that did not arrive is not repeated.

    The channel's rate of a message a second is kept; a pause that it demanded is not waited for longer than
    ``wait_seconds``.
    """
    outbox = Outbox(connections)
    body = trial_message(channel.name, sender, datetime.now(UTC)).body()
    (number,) = outbox.add("test", [channel.name], body, hold=True)
    until = time.monotonic() + wait_seconds
    while (message := outbox.claim_one(channel.name, number, LONGEST_SEND)) is None:
        if time.monotonic() >= until:
            state = next(one for one in outbox.channel_states() if one.name == channel.name)
            outbox.forget(number)
            return DeliveryResult("refused", f"it is not asked before its pause is over: {state.last_error or 'busy'}")
        time.sleep(0.1)
    result = channel.send(message)
    if result.state == "sent":
        outbox.sent(message, result.detail)
    else:
        outbox.failed(message, result.detail, unknown=result.state == "unknown", pause=result.pause)
        outbox.forget(number)
    return result
