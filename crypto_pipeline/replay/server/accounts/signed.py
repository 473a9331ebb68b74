"""Signed requests: the key, the time within its window, the signature, in Binance's order and with its errors."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from urllib.parse import parse_qsl

from crypto_pipeline.replay.orders.types import ZERO
from crypto_pipeline.replay.server.accounts.desk import ApiKey
from crypto_pipeline.replay.server.parameters import Refused, mandatory, whole_number

_SIGNATURE = re.compile(r"(^|&)signature=([^&]*)")


def signed_parameters(
    payload: str, key: str | None, keys: Mapping[str, ApiKey], now_ms: int
) -> tuple[str, dict[str, str]]:
    """The key and the parameters of a request whose query and body together are ``payload``. Raises Refused."""
    if not key:
        raise Refused(-2014, "API-key format invalid.", 401)
    if key not in keys:
        raise Refused(-2015, "Invalid API-key, IP, or permissions for action.", 401)
    found = _SIGNATURE.search(payload)
    values = dict(parse_qsl(payload, keep_blank_values=True))
    if found is None:
        raise Refused(-1102, "Mandatory parameter 'signature' was not sent, was empty/null, or malformed.")
    check_time(values, now_ms)
    signed = payload[: found.start()] + payload[found.end() :]
    if not hmac.compare_digest(signature(keys[key].secret, signed.removeprefix("&")), found[2]):
        raise Refused(-1022, "Signature for this request is not valid.")
    return key, values


def signature(secret: str, payload: str) -> str:
    """What signs a payload."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


def check_time(values: Mapping[str, str], now_ms: int) -> None:
    """Raise Refused where the request is from another time than now, as its sender's clock says it."""
    stamp = whole_number(values, "timestamp")
    if stamp is None:
        mandatory(values, "timestamp")
    window = whole_number(values, "recvWindow")
    window = 5000 if window is None else window
    if window > 60_000:
        raise Refused(-1131, "recvWindow must be less than 60000")
    assert stamp is not None
    if stamp >= now_ms + 1000:
        raise Refused(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - stamp > window:
        raise Refused(-1021, "Timestamp for this request is outside of the recvWindow.")


def decimal_value(values: Mapping[str, str], name: str, *, required: bool = False) -> Decimal:
    """A decimal parameter; 0 where it was not sent. Raises Refused."""
    text = mandatory(values, name) if required else values.get(name, "")
    if not text:
        return ZERO
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(-1)
    if not re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?", text) or value < 0:
        raise Refused(
            -1100,
            f"Illegal characters found in parameter '{name}'; legal range is '^([0-9]{{1,20}})(\\.[0-9]{{1,20}})?$'.",
        )
    return value
