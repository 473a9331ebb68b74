"""Fork safety: a forked process needs connections, threads and locks of its own.

``os.fork`` copies memory, but only the thread that forks. A copied connection is one socket that two processes write
to; a copied lock may stay locked for ever, because the thread that held it does not exist in the child. So each object
of this package that holds one of these registers with ``renew_in_children``, and its ``after_fork`` runs first in each
child. Objects that the child must neither use nor close are passed to ``abandon``: closing a copied connection would
end the parent's session.

Polars has threads too and cannot start them again: in the child of a process that used them, most of its operations
never return. ``without_polars`` says whether this is such a child; see ``reading.helper_process``.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """An object that holds connections, threads or locks."""

    def after_fork(self) -> None:
        """Create locks and connections again. Runs in the child, which has one thread."""


_things: WeakSet[Renewable] = WeakSet()
_classes: list[type] = []
#: Threads that compute for Polars; its names are cut at 15 characters.
_COMPUTES = re.compile(re.escape(os.environ.get("POLARS_THREAD_NAME", "polars")[:13]) + r"-\d|async-executor")
_polars_was_running = False
_without_polars = False


def renew_in_children(thing: Renewable) -> None:
    """Call ``after_fork`` of ``thing`` in every forked child, as long as ``thing`` exists."""
    _things.add(thing)


def with_parts(owner: type) -> type:
    """Decorator of a class with ``cached_property``: before Python 3.12 each has a lock, shared by all instances."""
    _classes.append(owner)
    return owner


def abandon(*things: object) -> None:
    """Keep ``things`` for ever, so that they are never closed, not even at the end of the process."""
    for thing in things:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def without_polars() -> bool:
    """Whether this process was forked while Polars' threads ran: it does not have them, and Polars would wait for
    them.
    """
    return _without_polars


def require_polars(what: str) -> None:
    """Raise NeedsPolarsError where Polars' threads are missing: ``what`` would wait for them for ever."""
    from crypto_pipeline.store.database.errors import NeedsPolarsError

    if _without_polars:
        raise NeedsPolarsError(what)


def _polars_runs() -> bool:
    """Whether Polars' threads run. True on systems without /proc, where that is unknown."""
    try:
        return any(_COMPUTES.match(_name(task)) for task in Path("/proc/self/task").iterdir())
    except OSError:
        return True


def _name(task: Path) -> str:
    try:
        return (task / "comm").read_text()
    except OSError:  # this thread has ended meanwhile
        return ""


def _before() -> None:
    global _polars_was_running
    # 0.2 ms; only where something of ours is in use
    _polars_was_running = _without_polars or (len(_things) > 0 and _polars_runs())


def _in_child() -> None:
    global _without_polars
    _without_polars = _polars_was_running
    for owner in _classes:
        for part in vars(owner).values():
            if isinstance(part, cached_property) and hasattr(part, "lock"):
                part.lock = threading.RLock()
    for thing in list(_things):
        thing.after_fork()


def _register() -> None:
    hooks: Any = getattr(os, "register_at_fork", None)  # not on Windows, which does not fork
    if hooks is not None:
        hooks(before=_before, after_in_child=_in_child)


_register()
