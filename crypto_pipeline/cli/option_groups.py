"""Options that belong together, as one parameter of a command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, get_type_hints

from crypto_pipeline.cli import options
from crypto_pipeline.cli.options import End, Instruments, Start, Timeframes

if TYPE_CHECKING:
    from crypto_pipeline.market.timeframes import Timeframe


@dataclass(frozen=True, slots=True)
class SpanOptions:
    """``--start`` and ``--end`` as they were typed."""

    start: Start = None
    end: End = None

    def bounds(self) -> tuple[datetime | None, datetime | None]:
        """Begin and end, None where it is left open; BadInput when nothing lies between."""
        return options.bounds(self.start, self.end)

    def until(self, now: datetime, usual: timedelta) -> tuple[datetime, datetime]:
        """The half-open span: up to the market's ``now`` and ``usual`` long where the options say nothing."""
        return options.span(self.start, self.end, now, usual)


@dataclass(frozen=True, slots=True)
class SeriesOptions(SpanOptions):
    """The span, and ``--instruments`` and ``--timeframe`` as they were typed."""

    instruments: Instruments = None
    timeframe: Timeframes = None

    def timeframes(self) -> list[Timeframe] | None:
        """The timeframes, None for all; BadInput for one that there is not."""
        return options.timeframes(self.timeframe)

    def symbols(self, collected: Iterable[str]) -> list[str] | None:
        """The instruments, None for all; BadInput for one that is not ``collected``."""
        return options.known_symbols(self.instruments, collected)


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` for Typer: a parameter that is a group of options becomes the options of that group, in its place."""
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: one.annotation for name, one in signature.parameters.items() if is_dataclass(one.annotation)
    }

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += _options_of(groups[name]) if name in groups else [parameter.replace(kind=parameter.KEYWORD_ONLY)]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def _options_of(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(field.name, kind, default=field.default, annotation=hints[field.name])
        for field in fields(group)
    ]
