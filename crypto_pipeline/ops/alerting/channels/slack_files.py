"""Pictures in Slack: an address to upload to, the upload, and its end, as Slack's API wants it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from crypto_pipeline.ops.alerting.channels.http_request import RequestFailed, exchange
from crypto_pipeline.ops.alerting.channels.result import DeliveryResult

#: Calls a method of Slack's API: its answer, or how the attempt ended.
ApiCall = Callable[[str, Any], dict[str, Any] | DeliveryResult]


def upload(call: ApiCall, files: Mapping[str, str], channel: str, thread: str) -> str | None:
    """Upload files (paths by title) as a reply to the message ``thread``; what went wrong, None if nothing did."""
    ready = []
    for title, path in files.items():
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            return f"{Path(path).name} cannot be read: {(error.strerror or type(error).__name__).lower()}"
        asked = urlencode({"filename": Path(path).name, "length": len(content)})
        place = call(f"files.getUploadURLExternal?{asked}", None)
        if isinstance(place, DeliveryResult):
            return place.detail
        try:
            reply = exchange("POST", str(place["upload_url"]), content=content, answer_seconds=15.0)
        except RequestFailed as error:
            return str(error)
        if reply.status != 200:
            return f"the upload was answered with HTTP {reply.status}"
        ready.append({"id": place["file_id"], "title": title})
    end = {"files": ready, "channel_id": channel, "thread_ts": thread}
    done = call("files.completeUploadExternal", end)
    return done.detail if isinstance(done, DeliveryResult) else None
