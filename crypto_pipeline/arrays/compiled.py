"""Compiling a function with numba: kept on disk where a folder can be written, and free of Python's lock."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger(__name__)


def compiled(function: Callable[P, R], *signature: Any) -> Callable[P, R]:
    """Compiled now for ``signature``; without one, at its first call for what it is called with."""
    import numba  # late: half a second that whoever computes nothing need not wait

    found: Callable[P, R]
    njit: Any = numba.njit  # its overloads know no list of arguments
    try:
        found = njit(*signature, nogil=True, cache=True)(function)
    except (RuntimeError, OSError) as error:
        # No folder that can be written, neither beside the code nor in the home: seconds at every start.
        log.info("compiled kernels are not kept: %s (set NUMBA_CACHE_DIR to a folder that can be written)", error)
        found = njit(*signature, nogil=True)(function)
    return found
