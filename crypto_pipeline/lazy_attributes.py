"""Names of a package that are imported when they are first used, so that users of one name do not load all of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_attributes(package: str, modules: Mapping[str, tuple[str, ...]]) -> Callable[[str], Any]:
    """A ``__getattr__`` for ``package``: each name comes from its module, whose path is relative to the package.

    ``modules`` has the names of each module. The ``__getattr__`` raises AttributeError for any other name. A module
    must not be called like one of the names: importing it would put the module in the place of the name.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
