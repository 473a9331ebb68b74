"""What a feature is: its name, what it measures, how many bars it needs, and the function that computes it."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.abc import InspectLoader
from importlib.util import find_spec
from typing import Any

from crypto_pipeline.arrays.rolling import Floats
from crypto_pipeline.market.timeframes import Timeframe

#: Of the rows of a bounded window this share may be absent; beyond it the feature is null.
TOLERATED = 0.05
#: Raised whenever a formula changes in a way that code and texts do not show: rows of another version are stale.
VERSION = 2


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of ``ml_features``, Float64, null where its input is missing or not warm."""

    name: str
    group: str
    #: Bars of ``timeframe``, the newest included, from which on the value no longer depends on where the series begins.
    warm_up: int
    #: What it is, in a line.
    text: str
    #: From the series of bars of its timeframe (``bar_series.BarSeries``); None: computed for the whole market.
    of: Callable[[Any], Floats] | None = None
    timeframe: Timeframe = Timeframe.M15


def enough(n: int) -> int:
    """Rows that must be there in a window of ``n``."""
    return n - int(n * TOLERATED)


def schema_hash(features: Iterable[Feature], modules: Iterable[str]) -> str:
    """A text that is another whenever a feature is added, moved, or computed differently.

    It is made of the declared list and of the code of ``modules`` (those that make the numbers), so it changes with
    any statement in them, but neither with comments, docstrings and layout nor with the version of Python.
    """
    stated = [(one.name, one.timeframe, one.warm_up, one.text) for one in features]
    code = {module: fingerprint(_source(module)) for module in modules}
    return hashlib.sha256(json.dumps([VERSION, TOLERATED, stated, code]).encode()).hexdigest()[:16]


def fingerprint(source: str) -> str:
    """Hash of what a module does: its syntax tree without docstrings. The same on every version of Python."""
    parts: list[str] = []
    _write(ast.parse(source), parts)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _write(node: Any, parts: list[str]) -> None:
    # Not `ast.dump`: what it writes differs between versions. Fields that are empty are left out, so that fields which
    # only newer versions know change nothing.
    if isinstance(node, ast.AST):
        parts.append(type(node).__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None or value == [] or name in ("ctx", "kind", "type_comment"):
                continue
            if name == "body" and isinstance(value, list) and _is_docstring(value[0]):
                value = value[1:]
            parts.append(f".{name}")
            _write(value, parts)
    elif isinstance(node, list):
        parts.append(f"[{len(node)}")
        for one in node:
            _write(one, parts)
    else:
        parts.append(repr(node))


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _source(module: str) -> str:
    spec = find_spec(module)
    source = spec.loader.get_source(module) if spec and isinstance(spec.loader, InspectLoader) else None
    if source is None:
        raise ImportError(f"the source of {module} is not installed: install the package with its .py files")
    return source
