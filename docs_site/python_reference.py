"""The page about Python: every public function of the package, ``Reader``, and what they give, from the docstrings."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from functools import cached_property
from typing import Any

import crypto_pipeline
from crypto_pipeline.forecasts.answer import Forecast, ForecastAnswer
from crypto_pipeline.labels.stored.training import EmptyTrainingSetWarning
from crypto_pipeline.reading import Answer
from crypto_pipeline.reading.cached_reader import CachedReader
from crypto_pipeline.reading.stream import LiveStream, StreamUpdate
from crypto_pipeline.store.database.errors import DatabaseAwayError
from crypto_pipeline.trading.portfolio.book import TradingBook
from crypto_pipeline.trading.stored.replay import TradingReplay
from docs_site.markdown import as_anchor, code, heading, prose, table

#: Classes that answers consist of, beside those that the package itself exports.
ANSWERS = (CachedReader, LiveStream, StreamUpdate, Answer, ForecastAnswer, Forecast, TradingReplay, TradingBook)
#: Public for other rooms of the package, of no use to a reader of bars.
_INTERNAL = {
    "Reader": {"answer", "answer_or_warn", "symbol_ids", "version"},
    "CachedReader": {
        "answer", "answer_async", "close_listening", "heard_everything_until", "pass_on", "series", "version"
    },
}  # fmt: skip
_HEAD = """# Python

The public names of the package, made from its docstrings. Times are UTC, spans half-open: a bar that opens at `end`
is not part of the span. [Reading bars](../reading.md) explains the same with examples.

"""


def public_names() -> dict[str, Any]:
    """What ``crypto_pipeline`` exports, by name."""
    return {name: getattr(crypto_pipeline, name) for name in crypto_pipeline.__all__ if name != "__version__"}


def members(owner: type) -> dict[str, Any]:
    """Public methods and properties of a class with a docstring, its own before inherited ones."""
    found: dict[str, Any] = {}
    for cls in owner.__mro__:
        if cls.__module__.startswith("crypto_pipeline"):
            for name, member in vars(cls).items():
                plain = getattr(member, "__func__", member)
                told = plain.__doc__ if isinstance(plain, property | cached_property) or callable(plain) else None
                hidden = name.startswith("_") or name in _INTERNAL.get(owner.__name__, ())
                if told and not hidden and name not in found:
                    found[name] = plain
    return found


def page() -> str:
    """The whole page."""
    names = public_names()
    functions = {name: one for name, one in names.items() if inspect.isroutine(one)}
    classes = {name: one for name, one in names.items() if inspect.isclass(one)}
    failures = {name: one for name, one in classes.items() if issubclass(one, Exception)}
    parts = [_HEAD, "## Functions\n"]
    parts += [_function(f"crypto_pipeline.{name}", one, 3) for name, one in sorted(functions.items())]
    parts += [_class(one) for name, one in classes.items() if name not in failures]
    parts += ["## Answers\n", *(_class(one, 3) for one in ANSWERS)]
    parts += ["## Errors and warnings\n"]
    more = {one.__name__: one for one in (DatabaseAwayError, EmptyTrainingSetWarning)}
    parts += [_class(one, 3) for _, one in sorted({**failures, **more}.items())]
    return "\n".join(parts)


def _class(owner: type, level: int = 2) -> str:
    shown = [heading(level, owner.__name__, as_anchor(owner.__name__))]
    if issubclass(owner, Exception):
        base = next(cls for cls in owner.__mro__[1:] if cls is not object)
        return "\n".join([*shown, f"Base: `{base.__name__}`. {prose(owner.__doc__)}"])
    if owner is crypto_pipeline.Reader:
        shown.append(code(_signature(owner.__name__, owner.__init__), "python"))
    shown.append(_told(owner))
    if rows := fields(owner):
        shown.append(table(("field", "type", "meaning"), rows))
    for name, member in members(owner).items():
        if isinstance(member, property | cached_property):
            shown += [heading(level + 1, f"{owner.__name__}.{name}", as_anchor(owner.__name__, name)),
                      prose(member.__doc__)]  # fmt: skip
        else:
            shown.append(_function(f"{owner.__name__}.{name}", member, level + 1))
    return "\n".join(shown)


def _told(owner: type) -> str:
    """The docstring, without its list of attributes, and without the one that dataclasses make of their fields."""
    text = inspect.cleandoc(owner.__doc__ or "")
    return "" if text.startswith(f"{owner.__name__}(") else prose(text.split("\nAttributes:\n")[0])


def fields(owner: type) -> list[tuple[str, str, str]]:
    """Public fields of a dataclass with type and meaning, which the docstring lists under ``Attributes``."""
    if not is_dataclass(owner):
        return []
    listed = inspect.cleandoc(owner.__doc__ or "").partition("\nAttributes:\n")[2]
    meanings = dict(re.findall(r"^    (\w+): (.+(?:\n {5,}.+)*)", listed, re.MULTILINE))
    return [
        (f"`{each.name}`", f"`{each.type}`", meanings.get(each.name, "").replace("``", "`"))
        for each in dataclass_fields(owner)
        if not each.name.startswith("_")
    ]


def _function(name: str, function: Any, level: int) -> str:
    short = name.removeprefix("crypto_pipeline.")
    return "\n".join(
        [
            heading(level, name, as_anchor(*short.split("."))),
            code(_signature(short.rpartition(".")[2], function), "python"),
            prose(function.__doc__),
        ]
    )


def _signature(name: str, function: Any) -> str:
    signature = inspect.signature(inspect.unwrap(function))
    given = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
    result = "" if signature.return_annotation in (signature.empty, "None") else f" -> {signature.return_annotation}"
    shown = re.sub(
        r"'([\w. |\[\],]+)'", r"\1", str(signature.replace(parameters=given, return_annotation=signature.empty))
    )
    line = f"{name}{shown}{result}"
    if len(line) <= 100:
        return line
    star = False
    lines = []
    for each in given:
        if each.kind is each.KEYWORD_ONLY and not star:
            lines.append("    *,")
            star = True
        lines.append("    " + _QUOTED.sub(r": \1", str(each)) + ",")
    return "\n".join([f"{name}(", *lines, f"){result}"])


_QUOTED = re.compile(r": '([^']+)'")
