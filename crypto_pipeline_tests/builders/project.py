"""A project of somebody else's that uses the components of this package: folders with YAML entries."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from crypto_pipeline.defs.base.resources import MarketDatabase, RunScope

#: An entry of the venues that the settings name.
COLLECTED = """
type: crypto_pipeline.defs.sources.source.CollectedSources
attributes: {}
"""
_NAME = "with_source"


def project(folder: Path, entries: Mapping[str, str]) -> dg.Definitions:
    """The definitions of a project in ``folder``; ``entries`` are texts of YAML, each in a folder of this name."""
    for name, text in entries.items():
        (folder / _NAME / name).mkdir(parents=True)
        (folder / _NAME / name / "defs.yaml").write_text(text)
    (folder / _NAME / "__init__.py").touch()
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module(_NAME)
        made = dg.ComponentTree(defs_module=module, project_root=folder, code_location_name=_NAME).build_defs()
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == _NAME]:
            del sys.modules[name]
    shared = dg.Definitions(
        resources={"database": MarketDatabase(), "scope": RunScope()}, executor=dg.in_process_executor
    )
    return dg.Definitions.merge(made, shared)
