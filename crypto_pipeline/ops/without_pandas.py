"""Imported first by programs of ours that must start fast: brings ADBC without pandas.

pyarrow, which ADBC brings, imports pandas where it is installed: 40 % of the start of ingest. pyarrow does without it
for the rest of the process, so this is nothing for processes in which a person's own code runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class _NoPandas(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """None for everything else, which then is looked for as always."""
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not needed here", name=name)


_finder = _NoPandas()
sys.meta_path.insert(0, _finder)
try:
    import adbc_driver_manager.dbapi  # noqa: F401
finally:
    sys.meta_path.remove(_finder)
