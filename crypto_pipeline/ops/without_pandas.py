"""Import of ADBC without pandas, for programs that must start fast; they import this module first.

ADBC imports pyarrow, and pyarrow imports pandas if it is installed, which took 40 % of the start of ingest. pyarrow
then works without pandas for the rest of the process, so do not use this where a person's own code runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class _NoPandas(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Refuse pandas; None for other modules, so that the usual finders look for them."""
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not needed here", name=name)


_finder = _NoPandas()
sys.meta_path.insert(0, _finder)
try:
    import adbc_driver_manager.dbapi  # noqa: F401
finally:
    sys.meta_path.remove(_finder)
