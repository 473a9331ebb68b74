"""Compiling a function with numba: kept on disk where a folder can be written, and free of Python's lock."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Sequence
from importlib import import_module
from threading import Lock
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger(__name__)


def compiled(function: Callable[P, R], *signature: Any) -> Callable[P, R]:
    """Compile ``function`` now for ``signature``; without one, at each first call with arguments of other types.

    Functions that call each other are compiled this way, one that stands alone as a ``Kernel``.
    """
    # Late: it takes half a second, which programs that compute nothing need not wait.
    numba: Any = import_module("numba")
    if numba.config.DISABLE_JIT:
        return function
    result: Callable[P, R]
    dispatcher = numba.njit(nogil=True)(function)
    try:
        dispatcher._cache = _cache_on_disk(function)
        result = _for_signature(dispatcher, signature)
    except (RuntimeError, OSError) as error:
        # Neither the folder of the code nor the home directory can be written: compiling takes seconds at every start.
        log.info("compiled kernels are not kept: %s (set NUMBA_CACHE_DIR to a folder that can be written)", error)
        result = _for_signature(numba.njit(nogil=True)(function), signature)
    return result


def _for_signature(function: Any, signature: Sequence[Any]) -> Any:
    for one in signature:
        function.compile(one)
    if signature:
        function.disable_compile()
    return function


def _cache_on_disk(function: Callable[..., Any]) -> Any:
    """Where numba keeps what it compiles. Files that another version of the project left there may name types that are
    gone: numba would fail to read them for ever; here they are written anew.
    """
    caching: Any = import_module("numba.core.caching")  # it has no types
    cache: Any = caching.FunctionCache(function)
    load = cache.load_overload

    def load_or_renew(signature: Any, context: Any) -> Any:
        try:
            return load(signature, context)
        except (AttributeError, ImportError, EOFError, ValueError, TypeError, pickle.UnpicklingError) as error:
            log.info("%s is compiled anew, its kept form cannot be read: %s", function.__qualname__, error)
            cache.flush()
            return None

    cache.load_overload = load_or_renew
    return cache


class Kernel:
    """A function that is compiled for one signature when it is first called.

    Its arguments are, in this order: ``inputs`` arrays that it reads, ``integers`` whole numbers, ``floats`` Float64
    numbers, ``outputs`` arrays that it fills. Arrays are C-ordered, two-dimensional, of Float64.
    """

    def __init__(
        self, function: Callable[..., None], inputs: int, outputs: int, *, integers: int = 2, floats: int = 0
    ) -> None:
        self._function = function
        self._shape = (inputs, integers, floats, outputs)
        self._lock = Lock()
        self._compiled: Callable[..., None] | None = None

    def __call__(self, *arguments: Any) -> None:
        """Run it. The arrays are C-ordered."""
        compiled = self._compiled or self.prepare()
        compiled(*arguments)

    def prepare(self) -> Callable[..., None]:
        """Compile it, or load what was compiled before."""
        with self._lock:
            if self._compiled is None:
                self._compiled = self._compile()
            return self._compiled

    def _compile(self) -> Callable[..., None]:
        import numba  # late

        inputs, integers, floats, outputs = self._shape
        read = numba.types.Array(numba.float64, 2, "C", readonly=True)
        written = numba.types.Array(numba.float64, 2, "C")
        signature = numba.void(
            *[read] * inputs, *[numba.int64] * integers, *[numba.float64] * floats, *[written] * outputs
        )
        return compiled(self._function, signature)
