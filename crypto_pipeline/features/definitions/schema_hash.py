"""The hash by which stored rows of features are known to be computed as this version computes them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable
from importlib.abc import InspectLoader
from importlib.util import find_spec
from typing import Any

from crypto_pipeline.arrays.rolling_loops import Floats
from crypto_pipeline.features.definitions.code_hash import Definition, Source, code_hash
from crypto_pipeline.features.definitions.feature import Feature

#: Raised whenever a formula changes in a way that code and texts do not show: rows of another version are stale.
VERSION = 3


def hash_of_rows(entries: Iterable[Definition], source: Source | None = None) -> str:
    """A text that is another whenever ``entries`` (what computes rows of features) give other numbers.

    It follows their code (see ``code_hash``). Of each feature in a list that they reach count its name, its timeframe
    and its function, not its texts, its warm-up, nor where it stands. ``source`` gives the code of a module (default:
    as it is installed).

    Raises ImportError where the package is installed without its source.
    """
    code = code_hash(__name__.partition(".")[0], source or installed_source, entries, _features_in)
    return hashlib.sha256(f"{VERSION} {code}".encode()).hexdigest()[:16]


def _features_in(one: Definition) -> list[tuple[str, Callable[[Any], Floats] | None]] | None:
    value = getattr(sys.modules.get(one.module), one.name, None)
    values = value if isinstance(value, list | tuple) else [value]
    features = [feature for feature in values if isinstance(feature, Feature)]
    if not features or len(features) < len(values):
        return None
    return [(f"{feature.name} {feature.timeframe}", feature.of) for feature in features]


def installed_source(module: str) -> str | None:
    """The source of a module; None where there is no such module. ImportError where it is installed without source."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        return None
    if spec is None or not isinstance(spec.loader, InspectLoader):
        return None
    source = spec.loader.get_source(module)
    if source is None:
        raise ImportError(f"the source of {module} is not installed: install the package with its .py files")
    return source
