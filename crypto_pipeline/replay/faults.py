"""Faults as a script or a request states them: validated, with one clear line for what is wrong."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from crypto_pipeline.market.timeframes import Timeframe
from crypto_pipeline.replay.errors import ReplayError

Endpoint = Literal["klines", "aggTrades", "exchangeInfo", "time", "ping", "archive", "stream"]


def _listed(value: object) -> object:
    """One value may be written without the brackets of a list."""
    return [value] if isinstance(value, str) else value


class _Fault(BaseModel):
    """When a fault applies. What is left out matches everything."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    id: int = Field(0, description="Given by the exchange.")
    note: str = ""
    endpoint: list[Endpoint] | None = None
    symbol: list[str] | None = None
    timeframe: list[Timeframe] | None = None
    probability: float = Field(1.0, gt=0, le=1, description="Drawn for each request, from the seed of the exchange.")
    count: int | None = Field(None, ge=1, description="Over after it struck this many requests.")
    begins: AwareDatetime | None = Field(None, alias="from", description="Venue time from which it applies.")
    ends: AwareDatetime | None = Field(None, alias="until", description="Venue time from which it is over.")
    after_seconds: float = Field(0.0, ge=0, description="Real seconds after it was added until it applies.")
    for_seconds: float | None = Field(None, gt=0, description="Real seconds for which it applies.")

    @model_validator(mode="before")
    @classmethod
    def _one_or_many(cls, data: Any) -> Any:
        if isinstance(data, dict):
            several = ("endpoint", "symbol", "timeframe", "columns")
            data = {name: _listed(value) if name in several else value for name, value in data.items()}
            if isinstance(data.get("symbol"), list):
                data["symbol"] = [str(one).upper().replace("-", "").replace("_", "") for one in data["symbol"]]
        return data


class _Span(_Fault):
    start: AwareDatetime = Field(description="First moment of the span of market time.")
    end: AwareDatetime = Field(description="First moment after it.")

    @model_validator(mode="after")
    def _forward(self) -> _Span:
        if self.start >= self.end:
            raise ValueError(f"start {self.start.isoformat()} is not before end {self.end.isoformat()}")
        return self


class MissingRange(_Span):
    """Bars and trades of a span are not shown: for good, until a time, or for a number of requests (served later)."""

    kind: Literal["missing_range"]


class WrongValues(_Span):
    """Values of bars are wrong until revised (``until``, ``for_seconds`` or ``count``). By default only the 1m bars."""

    kind: Literal["wrong_values"]
    timeframe: list[Timeframe] | None = [Timeframe.M1]
    columns: list[Literal["open", "high", "low", "close", "volume", "quote_volume"]] = ["volume"]
    factor: float = Field(0.7, gt=0, description="Values are multiplied by this.")


class Outage(_Fault):
    """The whole venue is down: answers 503, closes the connection, or never answers."""

    kind: Literal["outage"]
    manner: Literal["503", "refuse", "hang"] = "503"


class ShortPages(_Fault):
    """Pages end early: at most ``rows`` rows where more were asked for."""

    kind: Literal["short_pages"]
    rows: int = Field(100, ge=0, le=1000)


class RateLimit(_Fault):
    """429 or 418 with Retry-After."""

    kind: Literal["rate_limit"]
    status: Literal[429, 418] = 429
    retry_after: int = Field(1, ge=0)


class ServerError(_Fault):
    """An answer of 5xx."""

    kind: Literal["server_error"]
    status: int = Field(500, ge=500, le=599)


class Slow(_Fault):
    """The right answer, late."""

    kind: Literal["slow"]
    seconds: float = Field(2.0, gt=0, le=3600)


class Hang(_Fault):
    """The socket stays open and nothing comes."""

    kind: Literal["hang"]
    seconds: float = Field(3600.0, gt=0)


class Truncated(_Fault):
    """The body stops in the middle and the connection closes."""

    kind: Literal["truncated"]
    share: float = Field(0.5, ge=0, lt=1)


class Malformed(_Fault):
    """Status 200 and a body that is not what the protocol promises."""

    kind: Literal["malformed"]
    body: str = "<html><body>502 Bad Gateway</body></html>"


class CorruptArchive(_Fault):
    """Archive files damaged: wrong bytes, a checksum of something else, half a file, none at all, or a header row."""

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
    | CorruptArchive,
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
    """Whether the fault's times hold now."""
    if age_seconds < fault.after_seconds:
        return False
    if fault.for_seconds is not None and age_seconds >= fault.after_seconds + fault.for_seconds:
        return False
    return (fault.begins is None or venue_now >= fault.begins) and (fault.ends is None or venue_now < fault.ends)
