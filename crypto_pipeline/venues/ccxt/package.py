"""Imports one exchange of ccxt: its packages import all of more than a hundred, which takes seconds and 100 MB.

The two packages are put into ``sys.modules`` before they are run. They run as soon as anybody asks them for more than
an exchange needs: other code of the process may use ccxt as it always does.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_PACKAGES = ("ccxt", "ccxt.async_support")
_lock = threading.RLock()


class _LatePackage(ModuleType):
    """A package that runs when it is asked for a name that it does not have yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_has_run":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        with _lock:
            if not self.__dict__.get("_has_run"):
                self.__dict__["_has_run"] = True
                spec = self.__spec__
                assert spec is not None
                assert spec.loader is not None
                spec.loader.exec_module(self)
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}") from None


def exchange_class(name: str) -> Any:
    """ccxt's class of the asynchronous exchange ``name``. Raises ModuleNotFoundError."""
    with _lock:
        for package in _PACKAGES:
            if package not in sys.modules:
                _lay_out(package)
        return getattr(import_module(f"ccxt.async_support.{name}"), name)


def synchronous_class(name: str) -> Any:
    """ccxt's class of the exchange ``name`` whose methods wait for their answers. Raises ModuleNotFoundError."""
    with _lock:
        if "ccxt" not in sys.modules:
            _lay_out("ccxt")
        return getattr(import_module(f"ccxt.{name}"), name)


def streaming_class(name: str) -> Any:
    """ccxt.pro's class of the exchange ``name``. Raises ModuleNotFoundError."""
    with _lock:
        kind = exchange_class(name)
        if "ccxt.pro" not in sys.modules:
            _lay_out("ccxt.pro")
        parent = sys.modules["ccxt.async_support"]
        for base in kind.__mro__:  # the streams take their bases from the package, where only the modules stand
            place, _, module = base.__module__.rpartition(".")
            if place == parent.__name__ and not isinstance(parent.__dict__.get(module), type):
                setattr(parent, module, base)
        return getattr(import_module(f"ccxt.pro.{name}"), name)


def _lay_out(package: str) -> None:
    """Put a package in its place without running it; what exchanges take from it is there at once."""
    spec = find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    module = module_from_spec(spec)
    module.__class__ = _LatePackage
    sys.modules[package] = module
    parent, _, child = package.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    errors = import_module("ccxt.base.errors")
    for name in errors.__all__:
        setattr(module, name, getattr(errors, name))
    if package == "ccxt":  # the streams of every exchange import it from here
        module.Exchange = import_module("ccxt.base.exchange").Exchange  # type: ignore[attr-defined]
