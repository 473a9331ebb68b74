"""Slack: by incoming webhook, which can only send, and by bot token, which can look up what it sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from pydantic import SecretStr

from crypto_pipeline.ops.alerting.channels.http_request import ANSWER, HttpReply, RequestFailed, exchange
from crypto_pipeline.ops.alerting.channels.result import DeliveryResult, Purpose, outgoing, recent
from crypto_pipeline.ops.alerting.messages import MESSAGE_TEXT, Announcement, cut, escaped
from crypto_pipeline.store.operations.notifications.outbox import OutboxMessage

#: Type of the metadata that a message of ours carries in Slack.
EVENT = "crypto_pipeline_message"
#: Answers that mean that Slack does not take this message, but would take others.
_MESSAGE_REFUSED = {
    "invalid_payload", "invalid_blocks", "invalid_blocks_format", "too_many_attachments", "no_text", "msg_too_long",
    "msg_blocks_too_long", "invalid_attachments", "metadata_too_large", "invalid_metadata_format",
}  # fmt: skip
#: Answers after which it is not known whether the message was taken.
_UNCERTAIN = {"internal_error", "fatal_error", "service_unavailable", "request_timeout"}
#: Pages of a conversation that are looked through for an earlier copy.
_PAGES = 10


def payload(message: OutboxMessage, *, marked: bool) -> dict[str, Any]:
    """What Slack gets: text for notifications, and blocks unless they were refused before."""
    shown = outgoing(message, marked=marked)
    if message.plain or not shown.blocks:
        return {"text": escaped(cut(shown.whole_text, MESSAGE_TEXT))}
    return {"text": escaped(cut(shown.whole_text, MESSAGE_TEXT)), "blocks": list(shown.blocks)}


@dataclass(frozen=True, slots=True)
class SlackWebhook:
    """An incoming webhook. Where it is not known whether a message arrived, the repetition says that it may repeat."""

    name: str
    url: SecretStr = field(repr=False)
    purpose: Purpose = "both"
    answer_seconds: float = ANSWER

    def send(self, message: OutboxMessage) -> DeliveryResult:
        """Post one message."""
        try:
            body = payload(message, marked=message.may_repeat)
            reply = exchange("POST", self.url.get_secret_value(), body, answer_seconds=self.answer_seconds)
        except RequestFailed as error:
            return error.result
        if reply.status == 200:
            return DeliveryResult("sent", "ok")
        return _by_status(reply, _word(reply.text))

    def find(self, message: OutboxMessage) -> DeliveryResult | None:
        """A webhook cannot be asked."""
        return None


@dataclass(frozen=True, slots=True)
class SlackBot:
    """A bot token with a channel's id. Messages carry the token of the outbox row, by which they are found again."""

    name: str
    token: SecretStr = field(repr=False)
    channel: str
    api_url: str
    purpose: Purpose = "both"
    answer_seconds: float = ANSWER

    def send(self, message: OutboxMessage) -> DeliveryResult:
        """Post one message, then upload its pictures."""
        # It was looked up before, and not found: this is no repetition.
        body = payload(message, marked=False) | {
            "channel": self.channel,
            "metadata": {"event_type": EVENT, "event_payload": {"token": message.token, "id": message.id}},
            "unfurl_links": False,
        }
        answer = self._call("chat.postMessage", body)
        if isinstance(answer, DeliveryResult):
            return answer
        sent_at = str(answer.get("ts", ""))
        files = {} if message.plain else Announcement.from_body(message.body).files
        if files and (trouble := self._upload(files, sent_at)):
            return DeliveryResult("sent", f"{sent_at}; its pictures are missing: {trouble}")
        return DeliveryResult("sent", sent_at)

    def find(self, message: OutboxMessage) -> DeliveryResult | None:
        """Look through the channel from the time at which the message was stored."""
        asked = {
            "channel": self.channel,
            "oldest": f"{recent(message.created_at):.6f}",
            "include_all_metadata": "true",
            "limit": "200",
        }
        for _ in range(_PAGES):
            answer = self._call(f"conversations.history?{urlencode(asked)}", None)
            if isinstance(answer, DeliveryResult):
                return DeliveryResult("unknown", f"it cannot be looked up: {answer.detail}", answer.pause)
            for one in answer.get("messages", []):
                metadata = one.get("metadata") or {}
                carried = (metadata.get("event_payload") or {}).get("token")
                if metadata.get("event_type") == EVENT and carried == message.token:
                    return DeliveryResult("sent", f"{one.get('ts', '')} (looked up)")
            cursor = (answer.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return DeliveryResult("refused", "it did not arrive (looked up)")
            asked["cursor"] = cursor
        return DeliveryResult("unknown", "it cannot be looked up: the channel has too many messages since then")

    def _upload(self, files: dict[str, str] | Any, sent_at: str) -> str | None:
        """Add pictures to a sent message as a reply; what is wrong, if anything is."""
        from crypto_pipeline.ops.alerting.channels.slack_files import upload

        return upload(self._call, files, self.channel, sent_at)

    def _call(self, name: str, body: Any) -> dict[str, Any] | DeliveryResult:
        """The answer of one method of Slack's API; where it is not ok, how the attempt ended."""
        headers = {"Authorization": f"Bearer {self.token.get_secret_value()}"}
        url = f"{self.api_url.rstrip('/')}/{name}"
        try:
            method = "GET" if body is None else "POST"
            reply = exchange(method, url, body, headers=headers, answer_seconds=self.answer_seconds)
        except RequestFailed as error:
            return error.result
        if reply.status != 200:
            return _by_status(reply, _word(reply.text))
        try:
            answer = json.loads(reply.text)
            if answer["ok"]:
                return dict(answer)
            error_name = str(answer["error"])
        except (ValueError, KeyError, TypeError):
            return DeliveryResult("unknown", "the answer is not one of Slack's API")
        if error_name in _UNCERTAIN:
            return DeliveryResult("unknown", f"Slack answers {_word(error_name)}")
        if error_name in ("ratelimited", "rate_limited"):
            return DeliveryResult("refused", "Slack demands a pause", _pause(reply))
        refused = error_name in _MESSAGE_REFUSED
        return DeliveryResult("refused", f"Slack answers {_word(error_name)}", message_at_fault=refused)


def _by_status(reply: HttpReply, word: str) -> DeliveryResult:
    """How an attempt ended that was answered with an error status."""
    said = f"HTTP {reply.status}" + (f" {word}" if word else "")
    if reply.status == 429:
        return DeliveryResult("refused", f"{said}: a pause is demanded", _pause(reply))
    if reply.status >= 500:  # it may have been taken before the failure
        return DeliveryResult("unknown", said, reply.retry_after)
    if 300 <= reply.status < 400:
        return DeliveryResult("refused", f"{said}: redirects are not followed")
    return DeliveryResult("refused", said, message_at_fault=reply.status == 400 and word in _MESSAGE_REFUSED)


def _pause(reply: HttpReply) -> float:
    """The pause that is demanded; half a minute where the answer does not say how long."""
    return 30.0 if reply.retry_after is None else reply.retry_after


def _word(text: str) -> str:
    """Slack's name of an error, if the answer is one: an answer of anybody else is not repeated."""
    word = text.strip()
    return word if len(word) <= 60 and word.replace("_", "").isascii() and word.replace("_", "").isalpha() else ""
