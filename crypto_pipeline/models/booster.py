"""LightGBM's own predictions, one row in microseconds, over the C interface of its library.

The Python package of LightGBM takes half a second and 100 MB to import (it loads scipy, and pandas where that is
installed) and some milliseconds for one row. Whoever only predicts needs none of that: the library is loaded by itself.
Everything here uses one thread. So nothing hangs in a process that is forked later or was forked before: OpenMP, which
LightGBM trains with, cannot start its threads again in a forked process. Training happens elsewhere, in a process of
its own.
"""

from __future__ import annotations

import ctypes
import re
import threading
import weakref
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from crypto_pipeline.arrays.panel import Floats
from crypto_pipeline.store.database import fork_safety

_FLOAT64, _ROW_MAJOR = 1, 1
_RAW, _CONTRIBUTIONS = 1, 3
_ONE_THREAD = b"num_threads=1"
_NAMES = ("lib_lightgbm.so", "lib_lightgbm.dylib", "lib_lightgbm.dll")


class LightGbmError(RuntimeError):
    """LightGBM is not installed, or it refuses a model text; the message says which, and what to do."""


def is_installed() -> bool:
    """Whether LightGBM is installed. It is not loaded."""
    return find_spec("lightgbm") is not None


def require_installed() -> None:
    """Raise LightGbmError, which says what to do, where LightGBM is not installed."""
    if not is_installed():
        raise LightGbmError("LightGBM is not installed: `pip install 'crypto-pipeline[models]'`")


@cache
def _library() -> Any:
    require_installed()
    spec = find_spec("lightgbm")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    found = [path for name in _NAMES for path in (folder / "lib" / name, folder / "bin" / name) if path.is_file()]
    if not found:
        raise LightGbmError(f"LightGBM's library is missing below {folder}: install lightgbm again")
    library = ctypes.CDLL(str(found[0]))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library


def _call(name: str, *arguments: Any) -> None:
    library = _library()
    if getattr(library, name)(*arguments) != 0:
        raise LightGbmError(f"LightGBM: {library.LGBM_GetLastError().decode(errors='replace')}")


class NativeBooster:
    """A model text of LightGBM, ready to predict raw scores (log-odds) and contributions. Thread-safe.

    ``width``: how many inputs a row has. Raises LightGbmError for a text that LightGBM cannot read, or that was
    trained on another number of inputs.
    """

    def __init__(self, text: str, width: int) -> None:
        self.width = width
        self._handle = _load(text, width)
        self._free_with_this("LGBM_BoosterFree", self._handle)
        self._raw, self._explain = self._row_function(_RAW), self._row_function(_CONTRIBUTIONS)
        self._score, self._parts = np.zeros(1), np.zeros(width + 1)
        self._length = ctypes.c_int64()
        self.after_fork()
        fork_safety.renew_in_children(self)

    def after_fork(self) -> None:
        """The lock of a forked child: the parent's may be held for ever."""
        self._lock = threading.Lock()

    def raw(self, row: Floats) -> float:
        """The raw score of one row: float64, C-contiguous, NaN for null."""
        with self._lock:
            self._one(self._raw, row, self._score)
            return float(self._score[0])

    def contributions(self, row: Floats) -> Floats:
        """What each input adds to the raw score of one row, then the base value (width + 1 values): LightGBM's own."""
        with self._lock:
            self._one(self._explain, row, self._parts)
            return self._parts.copy()

    def raws(self, matrix: Floats) -> Floats:
        """The raw scores of rows (rows x inputs): to the bit what ``raw`` gives for each."""
        rows = np.ascontiguousarray(matrix, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise ValueError(f"a matrix of {rows.shape}: this model has {self.width} inputs")
        found = np.empty(len(rows))
        if len(rows):
            _call(
                "LGBM_BoosterPredictForMat", self._handle, _pointer(rows), _FLOAT64, ctypes.c_int32(len(rows)),
                ctypes.c_int32(self.width), _ROW_MAJOR, _RAW, 0, 0, _ONE_THREAD, ctypes.byref(ctypes.c_int64()),
                _pointer(found),
            )  # fmt: skip
        return found

    def _row_function(self, kind: int) -> ctypes.c_void_p:
        made = ctypes.c_void_p()
        _call(
            "LGBM_BoosterPredictForMatSingleRowFastInit", self._handle, kind, 0, 0, _FLOAT64,
            ctypes.c_int32(self.width), _ONE_THREAD, ctypes.byref(made),
        )  # fmt: skip
        self._free_with_this("LGBM_FastConfigFree", made)
        return made

    def _free_with_this(self, function: str, handle: ctypes.c_void_p) -> None:
        """The newest is freed first, so the model goes after what uses it. At the end of the process nothing is."""
        weakref.finalize(self, getattr(_library(), function), handle).atexit = False

    def _one(self, function: ctypes.c_void_p, row: Floats, into: Floats) -> None:
        if row.shape != (self.width,) or row.dtype != np.float64 or not row.flags.c_contiguous:
            raise ValueError(f"a row of {row.dtype} and shape {row.shape}: this model takes {self.width} float64")
        _call(
            "LGBM_BoosterPredictForMatSingleRowFast", function, _pointer(row), ctypes.byref(self._length),
            _pointer(into),
        )  # fmt: skip


def _pointer(values: Floats) -> ctypes.c_void_p:
    return ctypes.c_void_p(values.ctypes.data)


_loading = threading.Lock()


def _refuse_torn(text: str) -> None:
    """LightGBM reads beyond the end of a text that was cut, and the process ends. Raises LightGbmError."""
    sizes = re.search(r"^tree_sizes=([\d ]*)$", text, re.MULTILINE)
    begin, end = text.find("\nTree=0\n"), text.find("\nend of trees\n")
    if sizes is None or end < 0 or not text.startswith("tree\n"):
        raise LightGbmError("this is no whole model text of LightGBM")
    stated = sum(map(int, sizes[1].split()))
    if stated != (0 if begin < 0 else len(text[begin + 1 : end + 1].encode())):
        raise LightGbmError("the model text is damaged: its trees have other sizes than it says")


def _load(text: str, width: int) -> ctypes.c_void_p:
    _refuse_torn(text)
    library, handle, iterations, inputs = _library(), ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
    threads = ctypes.c_int()
    with _loading:  # the number of threads is one figure of the whole library
        _call("LGBM_GetMaxThreads", ctypes.byref(threads))
        _call("LGBM_SetMaxThreads", 1)
        try:
            _call("LGBM_BoosterLoadModelFromString", text.encode(), ctypes.byref(iterations), ctypes.byref(handle))
        finally:
            library.LGBM_SetMaxThreads(threads)
    _call("LGBM_BoosterGetNumFeature", handle, ctypes.byref(inputs))
    if inputs.value != width:
        library.LGBM_BoosterFree(handle)
        raise LightGbmError(f"the model text has {inputs.value} inputs, not {width}")
    return handle
