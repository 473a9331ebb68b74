"""The kinds of faults and their fields, as in a script or a request. Validation errors are one line."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.errors import ReplayError
from crypto_pipeline.replay.faults.base import BaseFault, RowChanges, SpanFault
from crypto_pipeline.replay.faults.orders import OrderFault
from crypto_pipeline.replay.faults.stream import StreamFault


class MissingRange(SpanFault):
    """Bars and trades of a span are missing: always, until a time, or for a number of requests."""

    kind: Literal["missing_range"]


class WrongValues(SpanFault):
    """Values of bars are wrong until revised (``until``, ``for_seconds`` or ``count``). By default only the 1m bars."""

    kind: Literal["wrong_values"]
    timeframe: list[Timeframe] | None = Field([Timeframe.M1])
    columns: list[Literal["open", "high", "low", "close", "volume", "quote_volume"]] = Field(["volume"])
    factor: float = Field(0.7, gt=0, description="Values are multiplied by this.")


class Outage(BaseFault):
    """The whole venue is down: answers 503, closes the connection, or never answers."""

    kind: Literal["outage"]
    manner: Literal["503", "refuse", "hang"] = "503"


class ShortPages(BaseFault):
    """Pages end early: at most ``rows`` rows where more were asked for."""

    kind: Literal["short_pages"]
    rows: int = Field(100, ge=0, le=1000)


class RateLimit(BaseFault):
    """429 or 418 with Retry-After."""

    kind: Literal["rate_limit"]
    status: Literal[429, 418] = 429
    retry_after: int = Field(1, ge=0)


class ServerError(BaseFault):
    """An answer of 5xx."""

    kind: Literal["server_error"]
    status: int = Field(500, ge=500, le=599)


class Slow(BaseFault):
    """The answer is correct but late."""

    kind: Literal["slow"]
    seconds: float = Field(2.0, gt=0, le=3600)


class Hang(BaseFault):
    """The socket stays open without an answer."""

    kind: Literal["hang"]
    seconds: float = Field(3600.0, gt=0)


class Truncated(BaseFault):
    """The body stops in the middle and the connection closes."""

    kind: Literal["truncated"]
    share: float = Field(0.5, ge=0, lt=1)


class Malformed(BaseFault):
    """Status 200 and a body that violates the protocol."""

    kind: Literal["malformed"]
    body: str = "<html><body>502 Bad Gateway</body></html>"


class BadRows(RowChanges):
    """Rows of answers of ``klines`` or ``aggTrades`` are invalid, or not those that were requested."""

    kind: Literal["bad_rows"]


class CorruptArchive(BaseFault):
    """Archive files are damaged: wrong bytes, a wrong checksum, half a file, no file, or an added header row."""

    kind: Literal["corrupt_archive"]
    manner: Literal["bytes", "checksum", "truncated", "missing", "header"] = "bytes"


Fault = Annotated[
    MissingRange
    | WrongValues
    | Outage
    | ShortPages
    | RateLimit
    | ServerError
    | Slow
    | Hang
    | Truncated
    | Malformed
    | BadRows
    | CorruptArchive
    | OrderFault
    | StreamFault,
    Field(discriminator="kind"),
]
_FAULTS: TypeAdapter[list[Fault]] = TypeAdapter(list[Fault])


def parse_faults(data: object, where: str = "faults") -> list[Fault]:
    """Read one fault or a list of them (or ``{"faults": […]}``). Raises ReplayError naming the place and the value."""
    if isinstance(data, dict):
        data = data.get("faults", [data])
    try:
        return _FAULTS.validate_python(data)
    except ValidationError as error:
        raise ReplayError("; ".join(_explain(where, problem) for problem in error.errors())) from None


def _explain(where: str, problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    shown = problem["input"] if not isinstance(problem["input"], dict | list) else "…"
    return f"{where}: {place or 'top level'}: {problem['msg']} (got {shown!r})"


def load_faults(path: Path) -> list[Fault]:
    """Read a fault script. Raises ReplayError when it cannot be read or is wrong."""
    try:
        return parse_faults(json.loads(path.read_text()), where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ReplayError(f"cannot read the fault script {path}: {error}") from None
    except json.JSONDecodeError as error:
        raise ReplayError(f"{path} is not JSON: {error}") from None


def applies_at(fault: Fault, venue_now: datetime, age_seconds: float) -> bool:
    """Whether the fault is active at venue time ``venue_now`` and ``age_seconds`` (real) after it was set."""
    if age_seconds < fault.after_seconds:
        return False
    if fault.for_seconds is not None and age_seconds >= fault.after_seconds + fault.for_seconds:
        return False
    return (fault.begins is None or venue_now >= fault.begins) and (fault.ends is None or venue_now < fault.ends)
