"""Any other channel through the package apprise: mail, Telegram, PagerDuty, Teams, ntfy and about a hundred more."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from crypto_pipeline.ops.alerting.channels.result import DeliveryResult, Purpose, outgoing
from crypto_pipeline.store.operations.notifications.outbox import OutboxMessage

MISSING = "apprise is not installed: pip install 'crypto-pipeline[notify]'"
_KINDS = {"critical": "failure", "error": "failure", "warning": "warning", "info": "info"}


@dataclass(frozen=True, slots=True)
class AppriseChannel:
    """One address in the form of apprise. It says only whether a message was taken, not why it was not."""

    name: str
    url: SecretStr = field(repr=False)
    purpose: Purpose = "both"

    def send(self, message: OutboxMessage) -> DeliveryResult:
        """Send title and text."""
        try:
            client = self._client()
        except (ImportError, ValueError) as error:
            return DeliveryResult("refused", str(error))
        shown = outgoing(message, marked=message.may_repeat)
        kind = "success" if message.kind == "recovery" else _KINDS[shown.severity]
        try:
            taken = client.notify(title=shown.title, body=shown.text, notify_type=kind)
        except Exception as error:  # its plugins raise what they like, and messages may name the address
            return DeliveryResult("unknown", f"apprise failed ({type(error).__name__})")
        # A time-out of a plugin looks like a refusal: it is not known whether it arrived.
        return DeliveryResult("sent", "ok") if taken else DeliveryResult("unknown", "apprise says that it failed")

    def find(self, message: OutboxMessage) -> DeliveryResult | None:
        """Channels of apprise cannot be asked."""
        return None

    def _client(self) -> Any:
        try:
            import apprise
        except ImportError:
            raise ImportError(MISSING) from None
        # Its log lines name addresses.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        client = apprise.Apprise()
        if not client.add(self.url.get_secret_value()):
            raise ValueError(f"apprise does not understand the address of {self.name}: its wiki shows the form")
        return client
